import pytest

from trainable.metric import METRICS, fault_of


@pytest.mark.parametrize("metric", METRICS)
def test_without_a_box_only_the_loss_can_be_compared(metric):
    assert fault_of(metric, boxes=1) is None
    fault = fault_of(metric, boxes=0)
    assert fault is None if metric == "val_loss" else f"metric {metric}: no validation pair has" in fault
