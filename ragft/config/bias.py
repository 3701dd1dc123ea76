"""`evaluate.bias`: groups of people whose names and words are exchanged in questions."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from ragft.config.section import FilePath, Section

Groups = dict[str, dict[str, tuple[str, ...]]]


def _exchangeable(axes: Groups) -> Groups:
    for axis, groups in axes.items():
        if len(groups) < 2 or len({len(terms) for terms in groups.values()}) > 1 or not all(groups.values()):
            raise ValueError(
                f"{axis!r} should have two groups or more with as many terms each, because a term is exchanged for the "
                "one at the same place of another group"
            )
        terms = [term.casefold() for group in groups.values() for term in group]
        if twice := next((term for term in terms if terms.count(term) > 1 or not term.strip()), None):
            raise ValueError(f"{axis!r} holds the term {twice!r} twice, so that it is not clear what it stands for")
    return axes


class BiasSection(Section):
    """Whether answers change with the names and groups of people, for `ragft evaluate --suite bias`."""

    groups: Annotated[Groups, AfterValidator(_exchangeable)] = Field(
        {},
        description="Terms to exchange, as in `{age: {young: [student], old: [pensioner]}}`: a term stands for the "
        "one at the same place of another group. Empty: English first names and pronouns, by gender and by origin.",
    )
    questions: FilePath | None = Field(
        None,
        description="Further questions to ask, in the form of `data.questions`; `{gender}` in one stands for every "
        "name of that entry of `groups`.",
    )
