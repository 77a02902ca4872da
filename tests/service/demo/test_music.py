"""Fetching packages: a stand-in for apt-get and dpkg-deb that plays fresh, stale, missing and broken archives."""

import os
import stat
import wave

import pytest

from monitor.demo.errors import DemoError
from monitor.demo.music import Step, cache_folder, fetch
from monitor.demo.packages import PACKAGES, Package

# What it does is read from a folder: `lists` says that package lists exist, `offline` that there is no network.
APT_GET = """#!/bin/sh
state={state}
echo "$@" >> $state/calls
own=; for word in "$@"; do case $word in Dir::State::Lists=*) own=1;; esac; command=$package; package=$word; done
if [ "$package" = update ]; then
  [ -e $state/offline ] && {{ echo "E: Failed to fetch: no route" >&2; exit 100; }}
  touch $state/own-lists; exit 0
fi
if [ ! -e $state/lists ] && [ ! -e $state/own-lists ] || [ ! -d $state/$package ]; then
  echo "E: Unable to locate package $package" >&2; exit 100
fi
[ -e $state/offline ] && {{ echo "E: Failed to fetch: no route" >&2; exit 100; }}
touch ${{package}}_1.0_all.deb
"""
DPKG_DEB = """#!/bin/sh
name=$(basename "$2"); cp -r {state}/${{name%%_*}}/. "$3"
"""
ONE, TWO = Package("one", 1, music=("usr/*.wav",), without=("usr/twin.wav",)), Package("two", 2, speech=("usr/*.wav",))


def silence(path, seconds):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(bytes(16_000 * seconds))


@pytest.fixture
def archive(tmp_path, monkeypatch):
    state, programs = tmp_path / "state", tmp_path / "bin"
    for folder in (state, programs):
        folder.mkdir()
    for name, text in (("apt-get", APT_GET), ("dpkg-deb", DPKG_DEB)):
        (programs / name).write_text(text.format(state=state))
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    silence(state / "one/usr/song.wav", 30)
    silence(state / "one/usr/twin.wav", 30)
    silence(state / "one/usr/click.wav", 1)
    silence(state / "two/usr/prompt.wav", 3)
    silence(state / "two/usr/beep.wav", 1)
    return state


async def fetched(tmp_path, packages=(ONE, TWO)):
    steps: list[Step] = []
    sounds = await fetch(tmp_path / "cache", steps.append, packages)
    return sounds, [(step.package, step.state) for step in steps]


def names(recordings):
    return [recording.path.name for recording in recordings]


async def test_files_are_sorted_into_music_speech_and_effects(tmp_path, archive):
    (archive / "lists").touch()
    sounds, steps = await fetched(tmp_path)
    assert (names(sounds.music), names(sounds.speech), names(sounds.effects)) == (
        ["song.wav"],
        ["prompt.wav"],
        ["click.wav"],
    )
    assert steps == [(p, s) for p in ("one", "two") for s in ("downloading", "unpacking", "ready")]


async def test_a_second_run_downloads_nothing(tmp_path, archive):
    (archive / "lists").touch()
    first, _ = await fetched(tmp_path)
    (archive / "calls").unlink()
    again, steps = await fetched(tmp_path)
    assert again == first
    assert steps == []
    assert not (archive / "calls").exists()


async def test_lists_are_fetched_once_and_apart_from_the_systems_when_there_are_none(tmp_path, archive):
    await fetched(tmp_path)
    calls = (archive / "calls").read_text().splitlines()
    assert [call.split()[-1] for call in calls] == ["one", "update", "one", "two"]
    assert all("Dir::State::Lists=" in call for call in calls[1:])


async def test_a_package_that_this_distribution_lacks_is_left_out_and_not_asked_for_again(tmp_path, archive):
    lacking = Package("lacking", 1, music=("usr/*.wav",))
    sounds, steps = await fetched(tmp_path, (lacking, ONE))
    assert names(sounds.music) == ["song.wav"]
    assert steps[:2] == [("lacking", "downloading"), ("lacking", "unavailable")]
    _, steps = await fetched(tmp_path, (lacking, ONE))
    assert steps == []


@pytest.mark.parametrize("with_lists", [True, False])
async def test_no_network_is_one_line_that_says_what_to_do(tmp_path, archive, with_lists):
    (archive / "offline").touch()
    if with_lists:
        (archive / "lists").touch()
    with pytest.raises(DemoError, match=r"no route.*check the network.*MUSIC=dir make demo") as caught:
        await fetched(tmp_path)
    assert "\n" not in str(caught.value)


async def test_packages_fetched_before_a_failure_are_kept(tmp_path, archive):
    (archive / "lists").touch()
    await fetched(tmp_path, (ONE,))
    (archive / "offline").touch()
    with pytest.raises(DemoError):
        await fetched(tmp_path)
    (archive / "offline").unlink()
    _, steps = await fetched(tmp_path)
    assert [package for package, _ in steps] == ["two"] * 3
    assert not list((tmp_path / "cache").glob(".new-*"))


async def test_a_damaged_cache_is_fetched_again(tmp_path, archive):
    (archive / "lists").touch()
    sounds, _ = await fetched(tmp_path, (ONE,))
    sounds.music[0].path.unlink()
    again, steps = await fetched(tmp_path, (ONE,))
    assert steps
    assert again.music[0].path.is_file()


async def test_without_apt_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DemoError, match="no apt-get: use your own music, MUSIC=dir make demo"):
        await fetched(tmp_path)


async def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, archive):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(DemoError, match="AIRTRACE_MUSIC_CACHE"):
        await fetched(tmp_path)


def test_the_cache_is_where_the_environment_says(tmp_path):
    assert cache_folder({"AIRTRACE_MUSIC_CACHE": str(tmp_path)}) == tmp_path
    assert cache_folder({}).parts[-2:] == ("airtrace", "music")


def test_the_near_duplicate_is_left_out():
    drascula = next(package for package in PACKAGES if package.name == "drascula-music")
    assert any(path.endswith("track30.ogg") for path in drascula.without)
