"""What several configurations of one server must agree on, and what each has for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ragft.config import Config
from ragft.config.domains import OF_A_DOMAIN, in_one_server
from ragft.config.serve import ServeSection
from ragft.errors import UsageError


def domain(name: str, **serve: Any) -> tuple[str, Config]:
    return f"{name}.yaml", Config.model_validate({"name": name, "serve": serve})


def test_every_key_of_serve_is_known_to_be_of_a_domain_or_of_the_server() -> None:
    of_the_server = {
        "audit_log", "body_timeout", "cors", "deep_health_timeout", "drain_seconds", "engine_restarts", "host", "jwt",
        "keys", "log_format", "max_body_bytes", "max_queued", "metrics_port", "otlp_endpoint", "port", "request_log",
        "write_timeout",
    }  # fmt: skip
    # A new key belongs to one of them: to `OF_A_DOMAIN`, or above.
    assert of_the_server | OF_A_DOMAIN == set(ServeSection.model_fields) and not of_the_server & OF_A_DOMAIN


def test_what_one_file_says_of_the_server_holds_for_all_and_the_rest_is_its_own() -> None:
    one, two = in_one_server(
        [domain("a", port=9000, setups=["hybrid"], documents=True), domain("b", keys="/k", setups=["rag-only"])]
    )
    assert (one.serve.port, one.serve.keys) == (two.serve.port, two.serve.keys) == (9000, Path("/k"))
    assert (one.serve.setups, two.serve.setups) == (("hybrid",), ("rag-only",))
    assert one.serve.documents and not two.serve.documents


def test_files_that_say_different_things_of_the_server_are_refused() -> None:
    with pytest.raises(UsageError, match=r"serve\.keys .*a\.yaml and c\.yaml.*--set"):
        in_one_server([domain("a", keys="/k"), domain("b", port=9), domain("c", keys="/other")])
    assert len(in_one_server([domain("a", port=9), domain("b", port=9)])) == 2


def test_a_domain_is_served_once() -> None:
    with pytest.raises(UsageError, match="same name"):
        in_one_server([domain("a"), domain("a")])
    (_, one), (_, two) = domain("a"), domain("b")
    shared = two.model_copy(update={"workspace": one.workspace_folder})
    with pytest.raises(UsageError, match="same workspace"):
        in_one_server([("a.yaml", one), ("b.yaml", shared)])


def test_a_single_configuration_stays_as_it_is() -> None:
    file, config = domain("a", port=9)
    assert in_one_server([(file, config)]) == [config]
