"""What was trained again after a search, in rows and sentences."""

from collections.abc import Iterable, Sequence

from results.formatting import count, figure
from results.journal.journal import TrialRecord
from results.retrained import Chosen, Confirmed


def confirmed_rows(found: Sequence[Confirmed]) -> list[dict[str, str]]:
    """A row a recipe, the best first: trial, as it was found, mean over other seeds, interval, how far behind."""
    return [
        {
            "trial": f"{each.trial}{' (reference)' if each.reference else ''}",
            "found": figure(each.found),
            "mean": figure(each.mean),
            "interval": "{} to {}".format(*map(figure, each.interval)) if each.interval else "–",
            "behind": _behind(each, found[0]),
        }
        for each in found
    ]


def _behind(each: Confirmed, first: Confirmed) -> str:
    if each is first:
        return ""
    if each.behind is None:
        return "too few seeds to say"
    return "may be noise" if each.may_be_noise else "more than noise"


def confirmed_sentence(found: Sequence[Confirmed]) -> str:
    """Whether the best recipe is better than the reference, and than those next to it, whatever the seed."""
    first, others = found[0], found[1:]
    seeds = count(len(first.values), "other seed")
    interval = " (95 % interval {} to {})".format(*map(figure, first.interval)) if first.interval else ""
    sentence = f"With {seeds}, the recipe of trial {first.trial} comes to {figure(first.mean)} on the average{interval}"
    if reference := next((each for each in others if each.reference), None):
        sentence += f", the reference to {figure(reference.mean)}: {_in_words(reference)}"
    rivals = [each for each in others if not each.reference and each.may_be_noise]
    if rivals:
        names = ", ".join(str(each.trial) for each in rivals)
        sentence += f". From trial{'s' * (len(rivals) > 1)} {names} it cannot be told apart by so few seeds"
    return f"{sentence}."


def _in_words(other: Confirmed) -> str:
    if other.behind is None:
        return "one seed says nothing of noise"
    return "the difference may be noise" if other.may_be_noise else "more than noise between seeds"


def final_sentences(final: Iterable[TrialRecord]) -> list[str]:
    """What trainings over more epochs came to."""
    return [
        f"For {count(record.recipe.epochs if record.recipe else 0, 'epoch')}, the recipe of trial "
        f"{record.parameters['trial']} comes to {figure(record.compared)}."
        if record.status == "COMPLETED"
        else f"The training of trial {record.parameters['trial']} for more epochs is {record.status.lower()}."
        for record in final
    ]


def taken_sentence(choice: Chosen) -> str:
    """Which training's model `best/` holds."""
    title = choice.title[0].lower() + choice.title[1:]
    return f"best/ is of this training: {title}, {choice.record.metric.title} {figure(choice.record.compared)}."
