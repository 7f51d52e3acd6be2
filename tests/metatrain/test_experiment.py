"""The log of experiments: its figures, its table, and seeds that are not run again."""

import json

import experiment as script
import pytest

CHAINS = [
    {
        "variant": variant, "learning_rate": rate, "prediction_cost": cost,
        "long_chains": {"mean": mean}, "collapsed": {"mean": mean / 10},
        "prediction_information": {"mean": None if variant == "y_cut" else rate},
    }
    for variant, sign in (("intact", 1), ("y_cut", -1))
    for rate, cost, mean in (
        (20.0, 1.0, 0.3), (40.0, 0.1, 0.4), (40.0, 0.5, sign * 0.1), (80.0, 0.1, 0.2),
    )
]  # fmt: skip
PROBE = {
    "chains": CHAINS, "long_chains_y_cut": 0.05, "short_chains_intact": 0.9, "drift": 0.01234,
    "reward_free_entropy_table": 0.5, "reward_free_entropy_network": None,
}  # fmt: skip
RECORDS = [
    {"meta_step": 100, "seconds": 1.4},
    {"meta_step": 200, "seconds": 1.5, "validation": {
        "seconds": 0.4, "best_score": 0.5, "best_meta_step": 200,
    }},
    {"meta_step": 300, "seconds": 1.5, "validation": {
        "seconds": 0.4, "best_score": 0.5, "best_meta_step": 200,
    }},
]  # fmt: skip


def test_figures_are_the_intact_rules_by_arm():
    found = script.figures(PROBE)
    assert found["long_by_arm"] == [0.1, 0.2, 0.3, 0.4]
    assert found["collapsed_by_arm"] == pytest.approx([0.01, 0.02, 0.03, 0.04])
    assert (found["information"], found["long_y_cut"], found["drift"]) == (40.0, 0.05, 0.01234)


def test_seconds_are_those_of_training_and_of_validations():
    found = script.from_metrics(RECORDS)
    assert found == {"meta_steps": 300, "seconds": 5, "validation": 0.5, "exported": 200}
    assert script.from_metrics(RECORDS[:1]) == {
        "meta_steps": 100, "seconds": 1, "validation": None, "exported": None,
    }  # fmt: skip


def test_the_table_has_a_row_a_seed_as_wide_as_its_head():
    line = {"name": "mine", "seed": 3} | script.figures(PROBE) | script.from_metrics(RECORDS)
    lines = script.table([line, line | {"seed": 4}]).splitlines()
    assert len({row.count("|") for row in lines}) == 1 and len(lines) == 4
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == [
        "mine", "3", "0.10 / 0.20 / 0.30 / 0.40", "0.05", "0.01 / 0.02 / 0.03 / 0.04", "40.00",
        "0.50 / –", "0.012", "200 of 300",
    ]  # fmt: skip


def test_a_seed_is_run_once_for_each_name_and_arguments(tmp_path, monkeypatch):
    ran, log = [], tmp_path / "log.jsonl"

    def planted(command, arguments, seed):
        ran.append((command.name, arguments, seed))
        return {"name": command.name, "arguments": arguments, "seed": seed}

    def call(name, *seeds, arguments):
        argv = ["x", "run", name, "--seeds", *seeds, "--log", str(log), "--", *arguments]
        monkeypatch.setattr("sys.argv", argv)
        script.main()

    monkeypatch.setattr(script, "run", planted)
    call("a", "0", "1", arguments=["--preset", "quick"])
    call("a", "1", "2", arguments=["--preset", "quick"])
    call("a", "1", arguments=["--preset", "small"])
    call("b", "1", arguments=["--preset", "small"])
    assert [(name, seed) for name, _, seed in ran] == [
        ("a", 0),
        ("a", 1),
        ("a", 2),
        ("a", 1),
        ("b", 1),
    ]
    assert [json.loads(x)["seed"] for x in log.read_text().splitlines()] == [0, 1, 2, 1, 1]
    assert ran[3][1] == ["--preset", "small"]
