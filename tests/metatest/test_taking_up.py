"""Nothing stored is taken for what another rule, or other options, would have made."""

import json
from dataclasses import replace

import pytest
from test_algorithms import RULES, params, rule_file
from test_metatest_cli import run
from test_metatest_exit_codes import made, refused

from lpg.files.storage import save_rule
from lpg.own import source_digest
from metatest import cli, evaluate_all
from metatest.algorithms import AlgorithmOptions, a2c, choose
from metatest.atari import sweep
from metatest.atari.games import games
from metatest.atari.options import AtariOptions
from metatest.atari.taking_up import NEWER, AtariRun
from metatest.evaluate import Budget
from metatest.family import TuningOptions
from metatest.probe import cli as probe_cli
from metatest.report.results import folder_name
from metatest.taking_up import kept_folder, lives_options
from metatest.tasks import find_task


@pytest.fixture
def planted(monkeypatch):
    """Evaluations that are over at once; what was asked for is in the list."""
    seen = []

    def lived(algorithm, spec, *_):
        seen.append((algorithm.name, spec.name))
        return made(algorithm, spec, [1.0])

    def played(run, on_progress, save_agents):
        run.keep_options()
        seen.append((run.algorithm.name, run.game.name))
        return replace(made(run.algorithm, run.game, [1.0]), suite="atari", env=run.game.name)

    monkeypatch.setattr(evaluate_all, "evaluate", lived)
    monkeypatch.setattr(sweep, "evaluate_atari", played)
    monkeypatch.setattr(sweep, "write_report", lambda output, runs: None)
    monkeypatch.setattr(evaluate_all, "write_report", lambda output, runs: None)
    monkeypatch.setattr(cli, "write_report", lambda output, runs: None)
    monkeypatch.setattr(cli, "print_report", lambda *arguments: None)
    monkeypatch.setattr(cli, "check_installed", lambda: None)
    monkeypatch.setattr(cli, "default_number", lambda: 1)
    return seen


def another_rule(path):
    """Meta-training went on: other numbers at the same place."""
    eta = params("lpg") | {"pi_hat": {name: x + 1 for name, x in params("lpg")["pi_hat"].items()}}
    save_rule(path, eta, RULES["lpg"].architecture(), {})


@pytest.mark.parametrize("where", [("--envs", "short"), ("--atari", "pong")])
@pytest.mark.parametrize("again", ["same", "elsewhere"])
def test_a_rule_replaced_at_its_path_is_refused_by_its_digest(
    tmp_path, monkeypatch, capsys, planted, where, again
):
    """On what has been lived, and elsewhere too: a report pools results by name."""
    rule, out = rule_file(tmp_path / "rule.safetensors"), tmp_path / "out"
    run(monkeypatch, "--rule", rule, *where, "--run-dir", out)
    run(monkeypatch, "--rule", rule, *where, "--run-dir", out)  # the same rule again
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    another_rule(rule)
    other = {"short": "sparse", "pong": "breakout"}[where[1]] if again == "elsewhere" else where[1]
    arguments = ["--rule", rule, where[0], other, "--run-dir", out]
    code, error = refused(monkeypatch, capsys, *arguments)
    assert code == 2 and "rule (sha256 " in error and "choose another --run-dir" in error
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert len(planted) == 2


def test_what_is_refused_leaves_no_options_for_what_has_not_begun(
    tmp_path, monkeypatch, capsys, planted
):
    """So that the command, put right, is not refused for what it was wrong about."""
    rule, out = rule_file(tmp_path / "rule.safetensors"), tmp_path / "out"
    run(monkeypatch, "--rule", rule, "--envs", "short", "--run-dir", out)
    both = ["--rule", rule, "--envs", "sparse", "short", "--run-dir", out]
    assert "seeds (8 -> 5)" in refused(monkeypatch, capsys, *both, "--seeds", 5)[1]
    run(monkeypatch, *both)
    assert planted[1:] == [("lpg", "sparse"), ("lpg", "short")]


def test_the_same_rule_may_be_on_atari_and_elsewhere(tmp_path, monkeypatch, planted):
    """Where agents have Eq. 7's head and act late."""
    rule, out = rule_file(tmp_path / "rule.safetensors"), tmp_path / "out"
    both = ["--rule", rule, "--envs", "short", "--atari", "pong", "--run-dir", out]
    for _ in range(2):
        run(monkeypatch, *both)
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [row["version"]["baseline_head"] for row in rows] == [False, True]


def test_a_version_tells_rules_precisions_and_options_apart(tmp_path):
    rule = rule_file(tmp_path / "rule.safetensors")
    versions = []
    for options in (AlgorithmOptions(), AlgorithmOptions(precision="bfloat16")):
        versions += [choose((rule,), options)[0].version]
    another_rule(rule)
    versions += [choose((rule,), AlgorithmOptions())[0].version]
    relu = replace(RULES["lpg"], head_activation="none")
    assert relu != RULES["lpg"]
    save_rule(rule, params("lpg"), relu.architecture(), {})  # the same numbers, read otherwise
    versions += [choose((rule,), AlgorithmOptions())[0].version]
    for name in ("stac", "stac[]", "stac[lag=2]", "mgrl"):
        versions += [choose((name,), AlgorithmOptions())[0].version]
    tuned = AlgorithmOptions(tuning=TuningOptions(epsilon=0.5))
    versions += [choose(("stac",), tuned)[0].version]
    texts = [json.dumps(version, sort_keys=True) for version in versions]
    assert len(set(texts)) == len(texts)


def test_an_option_that_an_algorithm_ignores_is_no_reason_to_refuse():
    heads = AlgorithmOptions(tuning=TuningOptions(num_heads=5, atari_rates=(1.0,)))
    (plain, other) = (choose(("stac",), x)[0].version for x in (AlgorithmOptions(), heads))
    assert plain == other


def test_names_that_differ_have_folders_that_do():
    names = ["stac", "stac[]", "stac[lam]", "stac[lam=]", "stac-lam", "short", "a:b", "a/b"]
    folders = [folder_name(name) for name in names]
    assert len(set(folders)) == len(names) and folders[0] == "stac"
    assert all(set(folder) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for folder in folders)


def test_code_of_ones_own_that_has_changed_is_another(tmp_path, monkeypatch):
    """Of a world and of a learner, each by the file that defines it."""
    monkeypatch.syspath_prepend(tmp_path)
    text = "from test_tasks import Corridor\nfrom metatest.algorithms import a2c as Learner\n"
    (tmp_path / "changing.py").write_text(text)
    spec = find_task("changing:Corridor")
    (own,) = choose(("changing:Learner",), AlgorithmOptions())
    assert own.version["source"] == source_digest("changing:Corridor") != ""
    kept_folder(tmp_path, a2c(), spec, Budget())
    (tmp_path / "changing.py").write_text(text + "# more\n")
    with pytest.raises(ValueError, match=r"environment \(\w{64} -> \w{64}\)"):
        kept_folder(tmp_path, a2c(), spec, Budget())
    (other,) = choose(("changing:Learner",), AlgorithmOptions())
    assert other.version["source"] != own.version["source"]


def test_lives_are_those_of_the_settings_that_an_algorithm_brings():
    """64 environments of a learned rule and 8 of A2C's are in no option."""
    spec = find_task("CartPole-v1")
    options = lives_options(a2c(), spec, Budget())
    own = ("num_envs", "gamma", "reward_scale", "reward_centre")
    assert [options[x] for x in own] == [8, 0.99, 1.0, 1.0]


PONG = games()["pong"]


def test_atari_runs_are_taken_up_with_what_matters_alone(tmp_path):
    first = AtariRun(a2c(), PONG, AtariOptions(frames=1000), tmp_path)
    first.keep_options()
    free = replace(first.given, frames=2000, seeds=5, log_every=7, checkpoint_every=9)
    replace(first, given=free).keep_options()  # raised, and in another manner
    for change, told in (
        ({"seed": 7}, r"seed \(0 -> 7\)"),
        ({"algorithm": replace(a2c(), version={"rule": "b"})}, r"rule \(None -> b\)"),
        ({"given": replace(free, gamma=0.5)}, r"gamma \(0.995 -> 0.5\)"),
        ({"given": replace(free, frames=1999)}, "frames 2,000; it goes on with more but not with"),
    ):
        with pytest.raises(ValueError, match=told):
            replace(first, **change).refuse_other()


def test_a_life_whose_learning_rate_falls_to_its_end_cannot_be_made_longer(tmp_path):
    for name, raised in (("impala", False), ("impala[constant_rate=True]", True)):
        (algorithm,) = choose((name,), AlgorithmOptions())
        first = AtariRun(algorithm, PONG, AtariOptions(frames=1000), tmp_path)
        first.keep_options()
        longer = replace(first, given=AtariOptions(frames=2000))
        if raised:
            longer.keep_options()
        else:
            with pytest.raises(ValueError, match=r"frames \(1000 -> 2000\)"):
                longer.keep_options()


def test_atari_runs_from_before_an_option_was_there_had_its_default(tmp_path):
    first = AtariRun(a2c(), PONG, AtariOptions(), tmp_path)
    first.keep_options()
    path = first.folder / "options.json"
    older = {k: x for k, x in json.loads(path.read_text()).items() if k not in NEWER}
    path.write_text(json.dumps(older))
    first.refuse_other()
    with pytest.raises(ValueError, match=r"seed \(0 -> 1\)"):
        replace(first, seed=1).refuse_other()


def test_a_probe_of_another_rule_or_a_meta_test_is_not_written_over(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(probe_cli, "_probe", lambda *arguments: 1 / 0)
    rule, out = rule_file(tmp_path / "rule.safetensors"), tmp_path / "out"
    arguments = ["--rule", rule, "--run-dir", str(out)]
    with pytest.raises(ZeroDivisionError):
        probe_cli.main(arguments)
    with pytest.raises(ZeroDivisionError):
        probe_cli.main(arguments)  # of the same rule
    another_rule(rule)
    assert probe_cli.main(arguments) == 2
    assert "a probe of another rule (sha256 " in capsys.readouterr().err
    (out / "command.json").unlink()
    (out / "results.jsonl").write_text("")
    assert probe_cli.main(arguments) == 2 and not (out / "command.json").exists()
    assert "holds a meta-test" in capsys.readouterr().err
