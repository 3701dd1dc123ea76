"""What the characters of symbol fonts mean in Unicode: in Wingdings, 0xFE is a checked box and 0xA8 an empty one.

Office files keep such a character as its place in the font, often moved to the private area at U+F000, where it means
nothing without the font's name.
"""

from __future__ import annotations

UNKNOWN = "\ufffd"
"""Stands for a symbol that is not known, so that a reader sees that something is missing."""

CHECKED, UNCHECKED = "☑", "☐"

_PRIVATE = range(0xF000, 0xF100)


def is_symbol_font(font: str) -> bool:
    """Whether the characters of a font are symbols, whatever their codes say."""
    return font.casefold() in _FONTS


def symbol(code: int, font: str) -> str:
    """The Unicode character of this code in a font; `UNKNOWN` if the font's symbols are not known."""
    places = _FONTS.get(font.casefold())
    if places is None:
        return UNKNOWN if code in _PRIVATE or not 0 < code < 0x110000 or 0xD800 <= code < 0xE000 else chr(code)
    place = code & 0xFF if code in _PRIVATE else code
    return " " if place == 0x20 else places.get(place, UNKNOWN)


def shown(text: str, font: str, symbol_font: str = "") -> str:
    """The text of a run as its fonts show it.

    Args:
        font: font of its letters; only a symbol font changes them.
        symbol_font: font of its characters in the private area, if that is another one.
    """
    is_symbols = is_symbol_font(font)
    if not is_symbols and not is_symbol_font(symbol_font):
        return text
    return "".join(
        symbol(ord(char), symbol_font or font)
        if ord(char) in _PRIVATE
        else symbol(ord(char), font)
        if is_symbols and ord(char) <= 0xFF and not char.isspace()
        else char
        for char in text
    )


def _places(*rows: tuple[int, str]) -> dict[int, str]:
    """Characters by code, from rows of them that begin at a code; a dot stands for one that has no equivalent."""
    return {first + place: char for first, row in rows for place, char in enumerate(row.split()) if char != "."}


_SYMBOL = _places(
    (0x21, "! ∀ # ∃ % & ∋ ( ) ∗ + , −"),
    (0x2F, "/ 0 1 2 3 4 5 6 7 8 9 : ; < = > ?"),
    (0x40, "≅ Α Β Χ Δ Ε Φ Γ Η Ι ϑ Κ Λ Μ Ν Ο Π Θ Ρ Σ Τ Υ ς Ω Ξ Ψ Ζ [ ∴ ] ⊥ _"),
    (0x60, "‾ α β χ δ ε φ γ η ι ϕ κ λ μ ν ο π θ ρ σ τ υ ϖ ω ξ ψ ζ { | } ∼"),
    (0xA0, "€ ϒ ′ ≤ ⁄ ∞ ƒ ♣ ♦ ♥ ♠ ↔ ← ↑ → ↓ ° ± ″ ≥ × ∝ ∂ • ÷ ≠ ≡ ≈ … ⏐ ⎯ ↵"),
    (0xC0, "ℵ ℑ ℜ ℘ ⊗ ⊕ ∅ ∩ ∪ ⊃ ⊇ ⊄ ⊂ ⊆ ∈ ∉ ∠ ∇ ® © ™ ∏ √ ⋅ ¬ ∧ ∨ ⇔ ⇐ ⇑ ⇒ ⇓"),
    (0xE0, "◊ ⟨ ® © ™ ∑ ⎛ ⎜ ⎝ ⎡ ⎢ ⎣ ⎧ ⎨ ⎩ ⎪ . ⟩ ∫ ⌠ ⎮ ⌡ ⎞ ⎟ ⎠ ⎤ ⎥ ⎦ ⎫ ⎬ ⎭"),
) | {0x2E: "."}

_WINGDINGS = _places(
    (0x21, "✏ ✂ ✁ 👓 🔔 📖 🕯 ☎ ✆ ✉ . 📪 📫 📬 📭 📁 📂 📄 . . . ⌛ ⌨ 🖰 🖲 💻 . . . ✇ ✍ ."),
    (0x41, "✌ 👌 👍 👎 ☜ ☞ ☝ ☟ ✋ ☺ 😐 ☹ 💣 ☠ ⚐ . ✈ ☼ 💧 ❄ . ✞ . ✠ ✡ ☪ ☯ ॐ ☸ ♈ ♉ ♊ ♋ ♌ ♍ ♎ ♏ ♐ ♑ ♒ ♓"),
    (0x6A, "& & ● ❍ ■ ☐ ☐ ❑ ❒ ⬧ ⧫ ◆ ❖ ⬥ ⌧ . ⌘"),
    (0x80, "⓪ ① ② ③ ④ ⑤ ⑥ ⑦ ⑧ ⑨ ⑩ ⓿ ❶ ❷ ❸ ❹ ❺ ❻ ❼ ❽ ❾ ❿"),
    (0x9E, "· • ▪ ○ ○ ○ ◉ ◎ . ▪ ☐ . ✦ ★ ✶ ✴ ✹ ✵ . ⌖ . . . ✪ ✰"),
    (0xB7, "🕐 🕑 🕒 🕓 🕔 🕕 🕖 🕗 🕘 🕙 🕚 🕛"),
    (0xD5, "⌫ ⌦ ◀ ➢ ▲ ▼ ← → ↑ ↓ ← → ↑ ↓ ↖ ↗ ↙ ↘ ← → ↑ ↓ ↖ ↗ ↙ ↘ ⇦ ⇨ ⇧ ⇩ ⬄ ⇳ ⬁ ⬀ ⬃ ⬂ . . ✘ ✔ ☒ ☑"),
)

_WINGDINGS_2 = _places(
    (0x4F, "✗ ✓ ☒ ☑ ☒ ☒ ☒ 🚫 🚫"),
    (0x69, "⓪ ① ② ③ ④ ⑤ ⑥ ⑦ ⑧ ⑨ ⑩ ⓿ ❶ ❷ ❸ ❹ ❺ ❻ ❼ ❽ ❾ ❿"),
    (0x95, "• ● ● ● ○ ○ ◉ ◎ ▪ ▪ ■ ■ ■ ☐ ☐ ☐"),
)

_WINGDINGS_3 = _places(
    (0x21, "⭠ ⭢ ⭡ ⭣ ⭦ ⭧ ⭩ ⭨"),
    (0x66, "← → ↑ ↓ ↖ ↗ ↙ ↘ ↔ ↕ ▲ ▼ △ ▽ ◀ ▶ ◁ ▷ ◣ ◢ ◤ ◥ . ▶"),
)

_WEBDINGS = _places(
    (0x33, "◀ ▶ ▲ ▼ ⏪ ⏩ ⏮ ⏭ ⏸ ⏹ ⏺"),
    (0x61, "✔ . ☐"),
    (0x67, "■"),
    (0x6E, "● . . . ✗"),
)

_FONTS = {
    "symbol": _SYMBOL,
    "wingdings": _WINGDINGS,
    "wingdings 2": _WINGDINGS_2,
    "wingdings 3": _WINGDINGS_3,
    "webdings": _WEBDINGS,
}
