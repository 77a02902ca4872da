"""The Debian packages that the demo's sounds come from, and which of their files are music, speech or effects."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Package:
    """A package and where its sounds are. Patterns are relative to its root; `download_mb` is in megabytes.

    repeating: recordings that repeat 15 s of themselves so closely (cosine over .955 between log-mel images) that
    positions in them are ambiguous. They may be registered, but the demo does not measure positions in them.
    """

    name: str
    download_mb: int
    music: tuple[str, ...] = ()
    speech: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    repeating: tuple[str, ...] = ()


WIZZNIC = "usr/share/games/wizznic"
ALLISON = "usr/share/asterisk/sounds/en_US_f_Allison"
DRASCULA = "usr/share/scummvm/drascula/audio"

PACKAGES = (
    Package(
        "wizznic-data",
        17,
        music=(f"{WIZZNIC}/data/menu-music.ogg", f"{WIZZNIC}/packs/*/music/*.ogg"),
        effects=(f"{WIZZNIC}/data/snd/*.ogg", f"{WIZZNIC}/packs/*/themes/*/snd/*.ogg"),
        repeating=(f"{WIZZNIC}/packs/*/music/Sean Hawk - Sexaine.ogg",),
    ),
    Package(
        "asterisk-moh-opsound-g722",
        8,
        music=("usr/share/asterisk/moh/*.g722",),
        repeating=("usr/share/asterisk/moh/*robot_dity.g722",),
    ),
    # Music and effects are in one folder; the short files are effects.
    Package("wordwarvi-sound", 9, music=("usr/share/wordwarvi/sounds/*.ogg",)),
    Package(
        "asc-music", 10, music=("usr/share/games/asc/music/*.mp3",), repeating=("usr/share/games/asc/music/[fm]*.mp3",)
    ),
    Package(
        "noiz2sa-data",
        8,
        music=("usr/share/games/noiz2sa/sounds/*.ogg",),
        effects=("usr/share/games/noiz2sa/sounds/*.wav",),
        repeating=tuple(f"usr/share/games/noiz2sa/sounds/{name}.ogg" for name in ("stg0", "stg3", "stg5")),
    ),
    Package("amoebax-data", 9, music=("usr/share/games/amoebax/music/*.ogg",)),
    Package(
        "davegnukem-data",
        20,
        music=("usr/share/games/davegnukem/music/*/*.ogg",),
        effects=("usr/share/games/davegnukem/sounds/*.wav", "usr/share/games/davegnukem/sounds/*.ogg"),
        repeating=("usr/share/games/davegnukem/music/*/Monsters-in*", "usr/share/games/davegnukem/music/*/The-Dark*"),
    ),
    # Prompts of a telephone exchange. "tt-monkeys" is not speech.
    Package("asterisk-core-sounds-en-g722", 11, speech=(f"{ALLISON}/*.g722",), without=(f"{ALLISON}/tt-monkeys.g722",)),
    Package("sound-theme-freedesktop", 1, effects=("usr/share/sounds/freedesktop/stereo/*.oga",)),
    # track30 is another mix of track1: as unknown music, it would rightly be matched.
    Package(
        "drascula-music",
        36,
        music=(f"{DRASCULA}/*.ogg",),
        without=(f"{DRASCULA}/track30.ogg",),
        repeating=tuple(f"{DRASCULA}/track{n}.ogg" for n in (11, 14, 26)),
    ),
)
