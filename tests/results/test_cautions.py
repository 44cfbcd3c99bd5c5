from dataclasses import replace

from records import record
from sweep.results.findings import cautions, is_weak
from sweep.results.records import Count


def with_sets(**changes):
    job = record()
    sets = {
        name: {**entry, **changes.get(name, {})} for name, entry in job.full.facts["sets"].items()
    }
    return replace(job, details=replace(job.full, facts={**job.full.facts, "sets": sets}))


def test_ordinary_figures_need_no_caution():
    assert cautions([record(), record().brief]) == []


def test_an_attack_that_hardly_works_on_b_is_told_once():
    def job(hits):
        made = record()
        return replace(made, figures={**made.figures, "badnet/test_asr": Count(hits, 1000)})

    (said,) = cautions([job(0), job(0)])
    assert said.startswith("The attack succeeds on 0 of 1000 poisoned images before")
    assert is_weak(job(499))
    assert not is_weak(job(500))


def test_a_search_is_judged_by_its_validation_set():
    made = record()
    figures = {"badnet/valid_asr": Count(1, 1000)}
    (said,) = cautions([replace(made, figures=figures)])
    assert "dataset.poisoned_valid" in said


def test_one_file_given_twice_is_told():
    (said,) = cautions([with_sets(clean_test={"sha256": "0" * 64})])
    assert said.startswith("clean_valid and clean_test are the same file")


def test_few_images_are_told():
    (said,) = cautions([with_sets(clean_test={"images": 1})])
    assert said == "clean_test holds 1 images: one image is 100.0 points of a figure."


def test_poisoned_images_that_are_clean_ones_are_told():
    job = record()
    facts = {**job.full.facts, "poisoned_like_clean": {"poisoned_test": 12, "poisoned_valid": 0}}
    (said,) = cautions([replace(job, details=replace(job.full, facts=facts))])
    assert said.startswith("12 of 1000 images of poisoned_test are clean images")
