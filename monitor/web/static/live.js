// Shows times in the viewer's time zone, and a warning when Airtrace does not respond. htmx refreshes the page.
"use strict";
(() => {
  const time = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  const clock = new Intl.DateTimeFormat(undefined, time);
  const dayAndClock = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", ...time });

  function localize(root) {
    const today = new Date().toDateString();
    for (const element of root.querySelectorAll("time[datetime]")) {
      const instant = new Date(element.dateTime);
      if (Number.isNaN(instant.getTime())) continue;
      element.title = element.dateTime;
      element.textContent = (instant.toDateString() === today ? clock : dayAndClock).format(instant);
    }
  }

  localize(document);
  const zone = clock.resolvedOptions().timeZone;
  document.getElementById("zone").textContent = `Times are local (${zone}); hover over one for UTC.`;

  // Before the new content is merged, so that unchanged times are not touched and not announced again.
  document.addEventListener("htmx:before:swap", (event) => {
    for (const task of event.detail.tasks) localize(task.fragment);
  });

  document.addEventListener("htmx:finally:request", (event) => {
    const { response, status } = event.detail.ctx;
    const lost = !response || response.status !== 200 || status !== "swapped";
    document.getElementById("lost").hidden = !lost;
    document.body.classList.toggle("is-lost", lost);
  });
})();
