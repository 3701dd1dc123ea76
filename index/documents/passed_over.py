"""Files that lie among documents and are none, so that nobody needs to hear that they are not read.

Pictures and other media, what programs leave beside the files that they open or download, and the parts of saved web
pages. All other files of formats that are not supported are named: they may be documents.
"""

from __future__ import annotations

from index.documents.formats import format_of

_NAMES = frozenset(["thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"])
_PREFIXES = ("~$", "~wrl")
"""What Word writes beside a document that is open."""
_PICTURES = ".ai .avif .bmp .eps .gif .heic .heif .ico .jfif .jpe .jpeg .jpg .png .psd .svg .svgz .tif .tiff .webp"
_SOUND_AND_FILM = (
    ".aac .aif .aiff .avi .flac .flv .m4a .m4v .mid .midi .mkv .mov .mp3 .mp4 .mpeg .mpg .oga .ogg .ogv .opus .wav "
    ".webm .wma .wmv"
)
_PARTS_OF_PAGES = ".css .eot .js .map .mjs .otf .ttf .woff .woff2"
_LEFTOVERS = ".crdownload .lnk .part .swo .swp .tmp .url ~"
_SUFFIXES = tuple(f"{_PICTURES} {_SOUND_AND_FILM} {_PARTS_OF_PAGES} {_LEFTOVERS}".split())


def is_passed_over(name: str) -> bool:
    """Whether a file is known by its name to be no document."""
    bare = name.rpartition("/")[2].lower()
    if bare.startswith(_PREFIXES) or bare in _NAMES:
        return True
    return bare.endswith(_SUFFIXES) and format_of(name) is None
