"""How many images go through the model at a time in all trials of a search, where that is left to the machine."""

from dataclasses import replace

from search.cluster.capacity import TrialSize
from search.cluster.cluster import Resources
from search.cluster.memory import least_memory
from search.options import Options
from trainable.detector.memory import micro_batch_within
from trainable.micro_batch import AUTO, OF_RECIPE


def with_micro_batch_of(options: Options, trial: TrialSize, resources: Resources) -> Options:
    """The options with a number in the place of `AUTO`, so that the run has the same one however it goes on.

    Args:
        options: what was asked.
        trial: what one takes of the memory.
        resources: of a trial.
    """
    if options.micro_batch != AUTO:
        return options
    memory = least_memory(options, resources)
    if memory is None:
        return replace(options, micro_batch=OF_RECIPE)
    images = micro_batch_within(memory, trial.memory(trial.rule), trial.device)
    return replace(options, micro_batch=str(images))
