"""Every option of the command is taken by a path, or refused by its name; none is dropped."""

from itertools import product

import optax
import pytest
from some_slow import some_slow
from test_algorithms import rule_file
from test_metatest_cli import run
from test_metatest_exit_codes import refused

from lpg.files.loading import from_file
from metatest import algorithms, cli, family
from metatest.cli import Command
from metatest.option_check import given, option_names

# Another value than the default for every option there is, but for what every command has.
ALWAYS = ("rule", "run-dir", "envs", "atari", "baselines")
OTHER = {
    "seeds": "5", "selection-seeds": "3", "steps": "20000",
    "selection-steps": "10000", "num-envs": "4", "num-steps": "5",
    "gamma": "0.5", "baseline-head": None, "reward-scale": "2",
    "reward-centre": "1", "agent": "D(8)",
    "optimizer": "sgd", "learning-rates": "0.1 0.2", "prediction-costs": "0.3",
    "precision": "bfloat16", "seed": "7", "save-agents": None,
    "atari-options.frames": "4000", "atari-options.learning-rates": "0.1 0.2",
    "atari-options.prediction-costs": "0.3", "atari-options.gamma": "0.5",
    "atari-options.num-steps": "5", "atari-options.seeds": "5",
    "atari-options.selection-frames": "400", "atari-options.log-every": "3",
    "atari-options.checkpoint-every": "3", "atari-options.video-steps": "3",
    "atari-options.settings.num-envs": "4", "atari-options.settings.sticky-actions": "0.25",
    "atari-options.settings.life-loss": None, "atari-options.settings.all-actions": None,
    "atari-options.settings.emulator-threads": "1", "jobs": "3",
    "tuning.gamma": "0.5", "tuning.value-cost": "0.7", "tuning.entropy-cost": "0.7",
    "tuning.learning-rates": "0.1 0.2", "tuning.atari-rates": "0.1 0.2", "tuning.num-envs": "4",
    "tuning.lag": "2", "tuning.live": "gamma", "tuning.pairs": "same",
    "tuning.meta-learning-rate": "0.7", "tuning.start": "0.7", "tuning.start-gamma": "0.7",
    "tuning.no-embedded": None, "tuning.outer-rows": "1", "tuning.num-heads": "5",
    "tuning.num-quantiles": "5", "tuning.kappa": "0.7", "tuning.shared": None,
    "tuning.n-step": "3", "tuning.kl-cost": "0.7", "tuning.max-norm": "0.7",
    "tuning.epsilon": "0.7", "tuning.initial-scale": "0.7", "tuning.differentiate-clip": None,
    "tuning.constant-rate": None, "tuning.surrogate": "lvc",
}  # fmt: skip
WHERE = {"envs": ["--envs", "CartPole-v1"], "atari": ["--atari", "pong"]}
MEMBERS = ["impala", "mgrl", "stac", "stacx", "drmg", "qr"]


def test_there_is_another_value_for_every_option():
    names = {name.replace("tuning.no-", "tuning.") for name in OTHER}
    assert names | {*ALWAYS} == {*option_names(Command)} and len(names) == len(OTHER)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """From arguments to all that reaches what is run on a path, as text."""
    made = []

    def recorded(*how, **more):
        made.append((how, sorted(more.items())))
        return optax.identity()

    monkeypatch.setattr(family, "impala_optimizer", recorded)
    monkeypatch.setattr(family.optax, "adam", recorded)
    rules = {}

    def once(file, name):
        if name not in rules:
            rules[name] = from_file(file, name)
        return rules[name]

    monkeypatch.setattr(algorithms, "from_file", once)
    monkeypatch.setattr(cli, "make_task", lambda *arguments: None)
    monkeypatch.setattr(cli, "check_installed", lambda: None)
    monkeypatch.setattr(cli, "enable_compilation_cache", lambda: None)
    monkeypatch.setattr(cli, "_refuse_other", lambda *arguments: None)
    monkeypatch.setattr(cli, "write_record", lambda *arguments: None)
    monkeypatch.setattr(cli, "write_report", lambda *arguments: None)
    monkeypatch.setattr(cli, "print_report", lambda *arguments: None)
    seen = []

    def on_envs(run_dir, algorithms, specs, budget, console, save_agents):
        for x, spec in product(algorithms, specs):
            t = x.training
            t.optimizer(spec, 9)
            task = {name: value for name, value in vars(spec).items() if name != "env"}
            seen.append((t.settings(spec), t.arms(spec), t.lag, own(x.learner), task))
        seen.append((vars(budget), save_agents) if specs else ())
        return True

    def on_atari(run_dir, algorithms, games, options, console, seed, save_agents, jobs):
        for x in algorithms:
            x.training.atari.optimizer(9)
            seen.append((options.of(x), x.training.lag, own(x.learner)))
        seen.append((seed, save_agents, jobs and jobs.number))
        return True

    monkeypatch.setattr(cli, "evaluate_all", on_envs)
    monkeypatch.setattr(cli, "play_all", on_atari)

    def ask(*arguments):
        made.clear(), seen.clear()
        run(monkeypatch, "--run-dir", tmp_path / "out", *arguments)
        return repr((made, seen))

    return ask


def own(learner):
    """What a learner is made of, but for arrays and functions."""
    fields = {k: x for k, x in vars(learner).items() if k not in ("rule_params", "meta_optimizer")}
    return type(learner.rule), {**fields, "rule": vars(learner.rule)}


@pytest.mark.parametrize("path", some_slow(WHERE, ["atari"]))
def test_every_option_is_taken_or_refused_by_name(path, asked, tmp_path, monkeypatch, capsys):
    rule = rule_file(tmp_path / "rule.safetensors")
    base = ["--rule", rule, *WHERE[path], "--baselines", "a2c", *MEMBERS]
    plain = asked(*base)
    assert plain == asked(*base)
    taken, dropped = set(), set()
    for name, value in OTHER.items():
        words = [f"--{name}", *(value or "").split()]
        if name == "atari-options.selection-frames":
            words += ["--atari-options.learning-rates", "0.1", "0.2"]
        try:
            changed = asked(*base, *words)
        except SystemExit:
            error = capsys.readouterr().err
            assert f"--{name.replace('no-', '')}" in error, name
        else:
            (dropped if changed == plain else taken).add(name)
    assert dropped == set()
    both = {name for name in OTHER if name.startswith("tuning.")} | {"precision", "seed"}
    both |= {"save-agents"}
    alone = {
        "envs": {x for x in OTHER if "." not in x} - {"jobs"} | both - {"tuning.atari-rates"},
        "atari": {x for x in OTHER if x.startswith(("atari-", "jobs"))}
        | both - {"tuning.learning-rates"},
    }
    assert taken == alone[path]


def test_how_arms_are_chosen_may_be_said_where_there_is_one(asked, tmp_path):
    """Scripts say it whatever arms they are given."""
    rule = rule_file(tmp_path / "rule.safetensors")
    one = ["--learning-rates", "1", "--prediction-costs", "1"]
    assert asked("--rule", rule, "--envs", "short", *one, "--selection-seeds", "1")


@pytest.mark.parametrize(
    ("names", "arguments", "told"),
    [
        ("lpg", "--atari pong --seeds 8", "does not take --seeds; give --atari-options.seeds."),
        ("lpg", "--envs short --atari-options.frames=9", "--atari-options.frames is of --atari"),
        ("lpg", "--envs short --atari_options.num_steps 9", "--atari-options.num-steps is of"),
        ("a2c", "--envs short --precision auto", "takes --precision; it is of learned rules"),
        ("a2c lpg_v", "--envs short --baseline-head", "takes --baseline-head; it is of the rule"),
        ("lpg", "--envs short --tuning.lag 0", "takes --tuning.lag; it is of impala, mgrl, stac"),
        ("stac", "--envs short --tuning.num-heads 3", "takes --tuning.num-heads; it is of stacx."),
        ("stac[]", "--envs short --tuning.pairs same", "where they tune something"),
        ("impala qr", "--envs short --optimizer sgd", "takes --optimizer; each has its own"),
        ("stac", "--envs short --learning-rates 1", "give --tuning.learning-rates"),
        ("stac", "--envs short --prediction-costs 1", "--prediction-costs; each has its own"),
        ("stac", "--atari pong --atari-options.gamma .9", "give --tuning.gamma"),
        ("stac", "--atari pong --atari-options.learning-rates 1", "--tuning.atari-rates"),
        ("stac", "--atari pong --atari-options.settings.num-envs 2", "give --tuning.num-envs"),
        ("lpg", "--atari pong --atari-options.selection-frames 9", "so there is nothing to choose"),
        ("stac", "--envs short --gamma .9 --tuning.gamma .9", "say the same; give one of them"),
        ("a2c a2c", "--envs short", "Two algorithms are called a2c"),
        ("stac[num_heads=5]", "--envs short", "stac does not take num_heads"),
        ("stac[live=(),pairs=same]", "--envs short", "stac that tunes nothing does not take pairs"),
    ],
)  # fmt: skip
def test_what_no_algorithm_takes_is_refused(names, arguments, told, tmp_path, monkeypatch, capsys):
    """Where it is given, its default included."""
    kinds = {kind: rule_file(tmp_path / kind / "x.safetensors", kind) for kind in ("lpg", "lpg_v")}
    first, *others = (kinds.get(name, name) for name in names.split())
    baselines = ["--baselines", *others] if others else []
    monkeypatch.setattr(cli, "check_installed", lambda: None)
    monkeypatch.setattr(cli, "_run", lambda *arguments: True)  # what is not refused is not lived
    words = ["--rule", first, *baselines, *arguments.split(), "--run-dir", tmp_path / "out"]
    code, error = refused(monkeypatch, capsys, *words)
    assert code == 2 and told in error and not (tmp_path / "out").exists()


def test_what_one_of_them_takes_is_not_refused(asked, tmp_path):
    """Mixed commands share what both take, and each takes its own."""
    rule = rule_file(tmp_path / "rule.safetensors")
    words = "--envs CartPole-v1 --atari pong --seeds 2 --atari-options.seeds 1 --optimizer sgd "
    words += "--tuning.learning-rates 1 --tuning.atari-rates 2 --tuning.num-heads 2 --precision "
    words += "float32 --seed 3 --gamma 0.5"
    text = asked("--rule", rule, "--baselines", "stacx", *words.split())
    assert "'optimizer': 'sgd'" in text and "seeds=1" in text
    # --gamma is of the environments, and Atari's agents keep their own
    assert text.count("'gamma': 0.5") == 1 and "gamma=0.5" in text.split("'gamma': 0.5")[0]
    assert "gamma=0.5" not in text.split("'gamma': 0.5")[1]


def test_an_option_is_given_however_it_is_written():
    names = ("num-envs", "tuning.embedded", "atari-options.settings.life-loss", "no-such")
    words = ["--num_envs=3", "--tuning.no-embedded", "--atari_options.settings.life_loss", "--x"]
    assert given([*words, "num-envs", "--num-envs", "2"], names) == [*names[:3]]
