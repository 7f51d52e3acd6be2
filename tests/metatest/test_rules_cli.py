"""The command `metatest rules`."""

from metatest import rules_cli


def test_rules_are_listed_and_their_cards_printed(capsys):
    assert rules_cli.main([]) == 0
    listed = capsys.readouterr().out
    assert "lpg-tabular" in listed and "lpg-15" in listed and "277,792" in listed
    assert rules_cli.main(["lpg-15"]) == 0
    assert capsys.readouterr().out.startswith("# lpg-15\n")
    assert rules_cli.main(["no-such-rule"]) == 2
    assert "'no-such-rule'" in capsys.readouterr().err


def test_the_list_is_whole_in_eighty_columns_and_a_line_a_rule_in_a_pipe(monkeypatch, capsys):
    summary = rules_cli.summary(rules_cli.card("lpg-15"))
    monkeypatch.setenv("COLUMNS", "80")
    rules_cli.main([])
    shown = capsys.readouterr().out
    assert set(summary.split()) <= set(shown.split()) and "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    monkeypatch.delenv("COLUMNS")
    rules_cli.main([])
    assert summary in capsys.readouterr().out


def test_summary_is_a_cards_first_sentence():
    assert rules_cli.summary("# name\n\nA rule: of .5\nnats. It is more.\n\nMore.") == (
        "A rule: of .5 nats."
    )
