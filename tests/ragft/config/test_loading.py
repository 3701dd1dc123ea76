"""One typed file: what it refuses, who wins, and that every key has a reader."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from support import ROOT

from ragft.cli.scaffold import scaffold
from ragft.config import Config, load_config
from ragft.config.loading import leaves, load_with_sources
from ragft.config.renamed import RENAMED
from ragft.errors import UsageError

SHIPPED = sorted((ROOT / "configs").glob("*.yaml"))


def written(folder: Path, text: str) -> Path:
    path = folder / "ragft.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_configuration_loads_and_names_files_that_exist(path: Path) -> None:
    config = load_config(path)
    assert config.index.documents.folder.is_dir()
    for file in (config.data.examples, config.data.questions):
        # What `ragft data generate` writes is not there before.
        assert file.is_file() or file.parent == config.data.generate.folder
    assert config.data.documents is None or config.data.documents.is_dir()


def test_scaffolded_configuration_loads(tmp_path: Path) -> None:
    assert load_config(scaffold(tmp_path / "handbook") / "ragft.yaml").name == "handbook"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: a\nfinetun: {epochs: 3}", "unknown key 'finetun': did you mean 'finetune'?"),
        ("name: a\nfinetune: {epoch: 3}", "unknown key 'finetune.epoch': did you mean 'epochs'?"),
        ("name: a\ndata: {mix: {gold: 0.5}}", "unknown key 'data.mix.gold': did you mean 'gold_share'?"),
        ("name: a\nserve: {zzzzzz: 1}", "unknown key 'serve.zzzzzz': known keys: adapters, audit_log, "),
        ("seed: 1", "key 'name' is missing."),
        ("name: a\nindex: {search: {top_k: many}}", "index.search.top_k: Input should be a valid integer"),
        ("name: a\nindex: {search: {top_k: 0}}", "index.search.top_k: Input should be greater than or equal to 1 ("),
        ("name: a\nindex:", "index: Input should be a valid dictionary"),
        ("name: A b", "name: String should match pattern"),
        ("name: a\nevaluate: {setups: [hybird]}", "evaluate.setups.0: Input should be 'prompt-only', "),
        ("name: a\nanswer: {format: '('}", "answer.format: is not a regular expression"),
        ("name: a\nanswer: {value: 'Answer: .+'}", "answer.value: has no group"),
        ("name: a\ndata: {mix: {general_share: 0.5}}", "data.mix.general names no file"),
        ("name: a\ndata: {mix: {general_share: 1.0, general: x}}", "general_share: Input should be less than 1"),
        ("- a\n- b", "does not hold `key: value` lines"),
        ("", "does not hold `key: value` lines"),
        ("name: [a", "is not readable as YAML"),
        ("name: \x00", "is not readable as YAML"),
    ],
)  # fmt: skip
def test_wrong_configuration_is_refused_in_words(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_config(written(tmp_path, text))
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_several_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"index\.search\.top_k: .*finetune\.epochs: "):
        load_config(written(tmp_path, "name: a\nfinetune: {epochs: -1}\nindex: {search: {top_k: -1}}"))


def test_a_fault_is_not_told_again_of_the_keys_whose_default_depends_on_it(tmp_path: Path) -> None:
    (tmp_path / "ragft.yaml").write_text("name: desk\nfinetune: {method: nope}\n")
    with pytest.raises(UsageError, match=r"finetune\.method") as told:
        load_config(tmp_path / "ragft.yaml")
    assert "learning_rate" not in str(told.value) and "default factory" not in str(told.value)


def test_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ragft new NAME"):
        load_config(tmp_path / "ragft.yaml")


def test_set_beats_environment_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "name: a\nserve: {port: 1, host: file}\nfinetune: {epochs: 1}")
    monkeypatch.setenv("RAGFT__SERVE__PORT", "2")
    monkeypatch.setenv("RAGFT__SERVE__HOST", "environment")
    config = load_config(path, ["serve.port=3", "index.search.top_k=7"])
    assert (config.serve.port, config.serve.host, config.finetune.epochs) == (3, "environment", 1)
    assert config.index.search.top_k == 7


def test_overrides_are_checked_like_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "name: a")
    for override, sentence in [
        ("finetune.epoch=3", "did you mean 'epochs'"),
        ("seed", "write --set section.key=value"),
        ("name.first=b", "'name' is not a section"),
        ("seed=[", "seed: Input should be a valid integer"),
    ]:
        with pytest.raises(UsageError, match=sentence.replace("[", r"\[")):
            load_config(path, [override])
    monkeypatch.setenv("RAGFT__SERVE__PROT", "2")
    with pytest.raises(UsageError, match=r"'serve\.prot': did you mean 'port'"):
        load_config(path)


def test_a_fault_names_the_place_that_the_value_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "name: a\nmerge: {prompts: 0}")
    monkeypatch.setenv("RAGFT__SERVE__PROT", "2")
    with pytest.raises(UsageError) as refused:
        load_config(path, ["serve.setups=hybrid", "index.search={mdoe: dense}"])
    told = str(refused.value)
    assert f"{path}: merge.prompts: Input should be greater than or equal to 1 (it is 0)." in told
    assert "environment variable RAGFT__SERVE__PROT: unknown key 'serve.prot': did you mean 'port'?" in told
    assert "--set serve.setups=hybrid: serve.setups: Input should be a list, as in [one, two] (it is 'hybrid')." in told
    assert "--set index.search={mdoe: dense}: unknown key 'index.search.mdoe': did you mean 'mode'?" in told


def test_lists_and_nothing_can_be_set(tmp_path: Path) -> None:
    config = load_config(
        written(tmp_path, "name: a\nevaluate: {limit: 3}"),
        ["evaluate.setups=[hybrid]", "evaluate.limit=null"],
    )
    assert config.evaluate.setups == ("hybrid",)
    assert config.evaluate.limit is None


def test_paths_are_relative_to_the_file_and_overrides_to_where_one_stands(tmp_path: Path) -> None:
    text = "name: a\nworkspace: out\nindex: {documents: {folder: docs}}\nmodel: {base: ./model}\n"
    text += "data: {examples: /e.jsonl, mix: {general: g.jsonl}}"
    config = load_config(written(tmp_path, text), ["data.questions=q.jsonl"])
    assert config.workspace == tmp_path / "out"
    assert config.index.documents.folder == tmp_path / "docs"
    assert config.data.examples == Path("/e.jsonl")
    assert config.data.mix.general == tmp_path / "g.jsonl"
    assert config.data.questions == Path("q.jsonl")
    assert Path(config.model.base) == tmp_path / "model"


def test_defaults_are_relative_to_the_file_too(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "name: a"))
    assert config.index.documents.folder == tmp_path / "documents"
    assert (config.data.examples, config.data.questions) == (tmp_path / "examples.jsonl", tmp_path / "questions.jsonl")
    assert config.data.documents is config.data.mix.general is config.serve.keys is None


def test_names_of_models_are_no_paths(tmp_path: Path) -> None:
    config = load_config(
        written(tmp_path, "name: a\nmodel: {base: owner/name}\nindex: {encoder: {model: all-minilm-l6-v2}}")
    )
    assert (config.model.base, config.index.encoder.model) == ("owner/name", "all-minilm-l6-v2")


def test_workspace_is_named_after_the_domain_where_ragft_runs(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "name: a")).workspace_folder == Path("workspace/a")


def test_filter_of_the_index_is_checked_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ragft.yaml"
    path.write_text("name: desk\nindex: {search: {filter: {year: {gte: 2024}}}}\n")
    assert load_config(path).index.search.filter == {"year": {"gte": 2024}}
    with pytest.raises(UsageError, match=r"search\.filter: cannot be understood: Filters have no operator 'newer'"):
        load_config(path, ["index.search.filter={year: {newer: 2024}}"])


def test_reranker_that_is_marked_as_a_path_is_one(tmp_path: Path) -> None:
    path = tmp_path / "ragft.yaml"
    path.write_text("name: desk\nindex: {search: {reranker: ./models/judge}}\n")
    assert load_config(path).index.search.reranker == str(tmp_path / "./models/judge")


@pytest.mark.parametrize("old", RENAMED)
def test_a_renamed_key_is_refused_with_its_new_name(tmp_path: Path, old: str) -> None:
    new = RENAMED[old]
    # A value that fits neither the old key nor a section that took its name.
    with pytest.raises(UsageError) as refused:
        load_config(written(tmp_path, "name: a"), [f"{old}=x"])
    assert f"--set {old}=x: key {old!r} is now {new!r}." in str(refused.value)
    assert new in {".".join(keys[: new.count(".") + 1]) for keys, _ in leaves()}


def test_a_configuration_of_the_version_before_is_refused_with_every_new_name(tmp_path: Path) -> None:
    old = "name: a\nprompt: {system: s, format: f}\nindex: {documents: d, encoder: e, top_k: 3}\nfinetune: {clip: 1}"
    with pytest.raises(UsageError) as refused:
        load_config(written(tmp_path, old))
    for key in ("prompt.format", "index.documents", "index.encoder", "index.top_k", "finetune.clip"):
        assert f"key {key!r} is now {RENAMED[key]!r}." in str(refused.value)


def test_every_value_tells_where_it_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "name: a\nserve: {port: 1}\nindex: {search: {top_k: 3}}")
    monkeypatch.setenv("RAGFT__ENGINE__MAX_TOKENS", "7")
    loaded = load_with_sources(path, ["finetune={epochs: 2}", "index.search.top_k=5"])
    values = loaded.values()
    assert values.keys() == loaded.sources.keys() == {".".join(keys) for keys, _ in leaves()}
    for key, value, source in [
        ("name", "a", str(path)),
        ("serve.port", 1, str(path)),
        ("serve.host", "127.0.0.1", "default"),
        ("engine.max_tokens", 7, "environment variable RAGFT__ENGINE__MAX_TOKENS"),
        ("finetune.epochs", 2, "--set finetune={epochs: 2}"),
        ("finetune.rank", 16, "default"),
        ("index.search.top_k", 5, "--set index.search.top_k=5"),
        ("index.documents.folder", str(tmp_path / "documents"), "default"),
    ]:
        assert (values[key], loaded.sources[key]) == (value, source), key


def test_json_schema_describes_every_key() -> None:
    schema = json.loads(json.dumps(Config.model_json_schema()))
    for name in ("FinetuneSection", "ServeSection", "MixSection"):
        keys = schema["$defs"][name]["properties"].values()
        assert all("description" in key or "$ref" in key for key in keys)  # a section has descriptions of its own


def accesses() -> set[tuple[str, str]]:
    """(owner, attribute) of every attribute that the source reads: `config.index.top_k` gives ("index", "top_k")."""
    found = set()
    for package in ("index", "ragft", "serving"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute):
                    owner: Any = node.value
                    name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
                    # A section that hands its values to the index reads them itself.
                    own = name == "self" and path.parent.name == "config"
                    found.add(("own section" if own else name.strip("_"), node.attr))
    return found


@pytest.mark.medium
def test_every_key_has_a_reader() -> None:
    read = accesses()
    # How the code calls a section that it was handed.
    handed = ("settings", "section", "limits", "mixing", "config", "space", "rates", "own section")
    unread = [
        ".".join(path)
        for path, _ in leaves()
        if path != ("workspace",)  # read by `workspace_folder`, which a test above calls
        and not any((owner, path[-1]) in read for owner in (*path[-2:-1], *handed))
    ]
    assert unread == []


def test_recipe_beats_the_file_and_is_beaten_by_overrides(tmp_path: Path) -> None:
    path = tmp_path / "ragft.yaml"
    path.write_text(
        "name: desk\nfinetune: {epochs: 3}\nrecipes: {short: {finetune.epochs: 1, data.mix.repeats: 1, seed: 7}}\n"
    )
    assert load_config(path).finetune.epochs == 3
    loaded = load_with_sources(path, ["recipe=short", "seed=9"])
    assert (loaded.config.recipe, loaded.config.finetune.epochs, loaded.config.seed) == ("short", 1, 9)
    assert loaded.sources["finetune.epochs"] == "recipe short"


def test_recipe_that_the_file_does_not_describe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ragft.yaml"
    path.write_text("name: desk\nrecipes: {short: {seed: 7}}\n")
    with pytest.raises(UsageError, match=r"recipe is 'long'.*known: short"):
        load_config(path, ["recipe=long"])
