"""How the command ends: one sentence and a code for whatever went wrong, or what was reached."""

from pathlib import Path

import pytest
from jax.errors import JaxRuntimeError
from tiny import TINY

from lpg.runs.checkpoint import CheckpointError
from metatrain import cli
from metatrain.devices.distributed import ProcessesError
from metatrain.devices.mesh import UnevenLifetimesError
from metatrain.initial_rule import InitialRuleError
from metatrain.memory import MemoryTooSmallError
from metatrain.records.run_directory import RunDirectoryError
from metatrain.train import MetaTrainingDiverged


def end(monkeypatch, outcome):
    """Run the command with `train` planted: an exception to raise, or the meta-step reached."""

    def planted(config, options):
        assert config is TINY and options.log_every == 10
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    command = cli.Command(TINY, Path("runs/mine"))
    monkeypatch.setattr(cli, "parse", lambda arguments: command)
    monkeypatch.setattr(cli, "train", planted)
    cli.main([])


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InitialRuleError("No such rule."), 2, "No such rule."),
        (RunDirectoryError("Not yours."), 2, "Not yours."),
        (UnevenLifetimesError("Uneven."), 2, "Uneven."),
        (MemoryTooSmallError("Too much."), 2, "Too much."),
        (CheckpointError("Full."), 1, "Full."),
        (MetaTrainingDiverged("Not finite."), 1, "Not finite."),
        (ProcessesError("Lost."), 1, "Lost."),
        (JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GB"), 1, "a smaller --lifetimes-per-chunk"),
        (OSError(28, "No space left on device"), 1, "runs/mine (No space left on device)"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_an_exit_code(monkeypatch, capsys, error, code, said):
    with pytest.raises(SystemExit) as caught:
        end(monkeypatch, error)
    sentence = capsys.readouterr().err.strip()
    assert caught.value.code == code
    assert sentence.startswith("metatrain: ") and said in sentence and "\n" not in sentence


def test_an_error_of_the_program_itself_is_not_hidden(monkeypatch):
    for error in (JaxRuntimeError("INTERNAL: bug"), TypeError("bug")):
        with pytest.raises(type(error), match="bug"):
            end(monkeypatch, error)


def test_the_end_says_what_was_reached(monkeypatch, capsys):
    end(monkeypatch, TINY.meta_steps)
    assert capsys.readouterr().out == "Done: runs/mine/rule.safetensors, curves beside it.\n"
    end(monkeypatch, TINY.meta_steps - 1)
    assert capsys.readouterr().out.startswith("Saved at meta-step 7; run the same command")
    monkeypatch.setattr(cli, "is_first", lambda: False)
    end(monkeypatch, TINY.meta_steps)
    assert capsys.readouterr().out == ""  # one process speaks for all
