from __future__ import annotations

from fedbench import report


def test_sentences_follow_the_numbers(save, config):
    low = [save(config("federated", s), skill=0.3) for s in (0, 1)]
    high = [save(config("federated", s, batch_size=8), skill=0.95) for s in (0, 1, 2)]

    assert "nothing can be concluded" in report.say_main(report.main_results(low))
    assert "above guessing: federated" in report.say_main(report.main_results(high))


def test_a_difference_is_said_with_its_interval_and_its_power(runs):
    frame = report.contrasts(runs)
    first = report.say_contrasts(frame).splitlines()[0]
    row = frame.iloc[0]

    assert f"{100 * row['mean']:+.1f} points [{100 * row['ci_low']:+.1f}" in first
    assert f"could have shown {100 * row['smallest_difference']:.1f}" in first


def test_a_difference_of_methods_names_the_setting(save, config):
    runs = [save(config("local", method=method)) for method in ("lora", "ia3")]
    said = report.say_contrasts(report.contrasts(runs))

    assert "fedbench-llama, local, iid: ia3 − lora = " in said


def test_nothing_to_compare_is_said(save, config):
    assert "nothing can be compared" in report.say_contrasts(
        report.contrasts([save(config("base"))])
    )


def test_every_task_and_partition_is_described(runs):
    assert len(report.say_composition(report.composition(runs)).splitlines()) == 4
    assert "8 duplicates and 2 conflicts dropped" in report.say_audit(report.audit(runs))


def test_a_method_is_described_by_what_it_trains_and_sends(save, config):
    said = report.say_resources(report.resources([save(config("federated", method="ia3"))]))

    assert "trains 4,000 parameters of 2,400,000 (0.17 %)" in said
    assert "sends 10.0 kB per site and round" in said


def test_convergence_says_what_the_last_round_gained(save, config):
    said = report.say_convergence(report.convergence([save(config("federated"))]))

    assert "ends at 70.0 %, +11.3 in the last round" in said
