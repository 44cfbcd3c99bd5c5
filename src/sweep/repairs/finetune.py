"""No repair, fine-tuning, and fine-tuning towards flat minima."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweep.base.registry import Real, Whole
from sweep.repairs.registry import repair

if TYPE_CHECKING:
    from sweep.repairs.registry import Evidence


@repair()
def none(evidence: Evidence) -> Any:
    """The pruned network as it is: pruning alone, the lab's defence."""
    return evidence.pruned


@repair(epochs=Whole(1), rate=Real(0, above=True), loss=Real(0, 1))
def finetune(evidence: Evidence, epochs: int = 10, rate: float = 0.003, loss: float = 0.02) -> Any:
    """All weights are trained on clean images, as the second half of Fine-Pruning does.

    min over theta of the mean cross-entropy L(f_theta(x), y), starting from the pruned network
    (Fine-Pruning, Liu, Dolan-Gavitt and Garg, RAID 2018, which names neither rate nor
    length). The rate is chosen on the images for deciding: see `tuning.choose`; the steps are
    Adam's: see `tuning.train`.

    Args:
        evidence: what the repair sees.
        epochs: passes over the images for tuning.
        rate: the highest learning rate.
        loss: of B's accuracy, that may be paid.
    """
    from sweep.repairs.tuning import Student, choose, train

    def tuned(speed: float) -> Any:
        student = Student(evidence)

        def gradients(x: Any, y: Any) -> Any:
            return student.gradients(lambda: student.loss(x, y))

        return train(student, evidence, gradients, rate=speed, epochs=epochs, title="finetune")

    return choose(evidence, tuned, rate, loss)


@repair(epochs=Whole(1), rate=Real(0, above=True), rho=Real(0, above=True), loss=Real(0, 1))
def ft_sam(
    evidence: Evidence,
    epochs: int = 10,
    rate: float = 0.003,
    rho: float = 0.5,
    loss: float = 0.02,
) -> Any:
    """Fine-tuning in which weights are disturbed where that does most harm.

    min over theta of max over |T^-1 e| <= rho of L(theta + e), T = diag(|theta|): large weights,
    which a backdoor's neurons have, are disturbed most (FT-SAM, Zhu et al., ICCV 2023).
    One step: e = rho T^2 g / |T g|, where g is the gradient at theta; the gradient at theta + e
    then moves theta. The official settings (`config/defense/ft-sam` of SCLBD/BackdoorBench: rho 2,
    100 epochs, labels smoothed by 0.1) are for networks with normalization: here that rho costs a
    fifth of the accuracy. The rate is chosen as `finetune` does.

    Args:
        evidence: what the repair sees.
        epochs: passes over the images for tuning.
        rate: the highest learning rate.
        rho: how far weights are disturbed, relative to their size.
        loss: of B's accuracy, that may be paid.
    """
    from sweep.repairs.tuning import Student, choose, disturbed, train

    def tuned(speed: float) -> Any:
        student = Student(evidence)

        def gradients(x: Any, y: Any) -> Any:
            slope = student.gradients(lambda: student.loss(x, y))
            with disturbed(student.variables, slope, rho):
                return student.gradients(lambda: student.loss(x, y))

        return train(student, evidence, gradients, rate=speed, epochs=epochs, title="ft_sam")

    return choose(evidence, tuned, rate, loss)
