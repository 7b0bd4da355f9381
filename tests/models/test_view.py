"""Views and the cache of a step: each view goes once through each network, in the norms that it
names."""

import torch
from torch import Tensor, nn

from sparring.models.backbones import Backbone
from sparring.models.encoder import Encoder
from sparring.models.split_norm import SplitNorm, split_norms
from sparring.models.teacher import KeyNormSettings, Teacher
from sparring.models.view import ForwardCache, View, as_views

SIDE = 8


class Counted(nn.Module):
    """A layer that counts the batches that pass it."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, rows: Tensor) -> Tensor:
        """The same rows."""
        self.sizes.append(len(rows))
        return rows


def encoder() -> Encoder:
    """Encoder with a batch norm and a counter in front of everything."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [Counted(), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()]
        backbone = Backbone(nn.Sequential(*layers), image_size=SIDE)
        projector = nn.Linear(backbone.num_features, 5)
        return Encoder(backbone, projector, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)).double()


def passes(network: nn.Module) -> list[int]:
    """Sizes of the batches that have passed since the last call; making a backbone passes one."""
    (counter,) = (module for module in network.modules() if isinstance(module, Counted))
    found, counter.sizes = counter.sizes, []
    return found


def fresh() -> Encoder:
    """An encoder that nothing has passed."""
    made = encoder()
    passes(made)
    return made


def pixels(seed: int = 0, *, count: int = 6, side: int = SIDE) -> Tensor:
    """Images in [0, 1]."""
    draws = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, side, side, generator=draws, dtype=torch.float64)


def test_views_of_a_batch_are_clean_and_of_weight_one() -> None:
    views = as_views([pixels(0), pixels(1)])
    assert [len(view) for view in views] == [6, 6]
    assert {(view.norms, view.images, view.weight, view.is_further) for view in views} == {
        ("clean", "batch", 1.0, False)
    }


def test_views_are_told_apart_by_being_the_same_object() -> None:
    same = pixels()
    first, second = as_views([same, same])
    assert first != second
    assert len({first, second, first}) == 2


def test_a_view_goes_through_a_network_once_a_step() -> None:
    network, cache, (view,) = fresh(), ForwardCache(), as_views([pixels()])
    first = cache.forward(view, network)
    assert cache.forward(view, network) is first
    assert cache.together([view], network)[0] is first
    assert passes(network) == [6]
    ForwardCache().forward(view, network)  # another step
    cache.forward(*as_views([pixels()]), network)  # equal pixels, another view
    assert passes(network) == [6, 6]


def test_networks_in_a_row_share_what_the_first_made() -> None:
    network, predictor, other = fresh(), nn.Linear(5, 5).double(), nn.Linear(5, 5).double()
    cache, (view,) = ForwardCache(), as_views([pixels()])
    embeddings = cache.forward(view, network)
    predicted = cache.forward(view, network, predictor)
    assert torch.equal(predicted, predictor(embeddings))
    assert not torch.equal(predicted, cache.forward(view, network, other))
    assert passes(network) == [6]


def test_a_network_and_its_teacher_do_not_share() -> None:
    network = fresh()
    teacher = Teacher(network)
    cache, (view,) = ForwardCache(), as_views([pixels()])
    online, target = cache.forward(view, network), cache.forward(view, teacher)
    assert passes(network) == passes(teacher) == [6]
    assert online.requires_grad
    assert not target.requires_grad


def test_keys_are_the_teachers_and_go_through_once() -> None:
    network, norm = fresh(), KeyNormSettings()
    teacher, (view,) = Teacher(network), as_views([pixels()])
    cache, draws = ForwardCache(), torch.Generator().manual_seed(0)
    keys = cache.keys(view, teacher, norm, generator=draws)
    assert torch.equal(keys, teacher(view.pixels))
    passes(teacher)
    assert cache.keys(view, teacher, norm, generator=draws) is keys
    assert passes(teacher) == []
    twin = View(pixels=view.pixels, same_as=view)
    assert torch.equal(cache.keys(twin, teacher, norm, generator=draws), keys)
    assert passes(teacher) == []


def test_attacked_views_go_through_the_second_norms() -> None:
    network = fresh()
    split_norms(network, momentum=0.5)
    (norm,) = (module for module in network.modules() if isinstance(module, SplitNorm))
    cache, attacked = ForwardCache(), View(pixels=pixels(), norms="attacked")
    before = [side.running_mean.clone() for side in (norm.clean, norm.adversarial)]
    cache.forward(attacked, network)
    assert torch.equal(norm.clean.running_mean, before[0])
    assert not torch.equal(norm.adversarial.running_mean, before[1])
    after = norm.adversarial.running_mean.clone()
    cache.forward(*as_views([pixels()]), network)
    assert torch.equal(norm.adversarial.running_mean, after)
    assert not torch.equal(norm.clean.running_mean, before[0])
    assert not norm.is_adversarial


def test_a_predictors_norms_follow_the_view_too() -> None:
    network, predictor = fresh(), nn.Sequential(nn.BatchNorm1d(5)).double()
    split_norms(predictor, momentum=0.5)
    (norm,) = (module for module in predictor.modules() if isinstance(module, SplitNorm))
    cache = ForwardCache()
    cache.forward(View(pixels=pixels(), norms="attacked"), network, predictor)
    assert [int(side.num_batches_tracked) for side in (norm.clean, norm.adversarial)] == [0, 1]


def test_a_view_that_is_the_same_as_another_takes_its_output_without_gradient() -> None:
    network, cache = fresh(), ForwardCache()
    predictor = nn.Linear(5, 5).double()
    moved = View(pixels=pixels().requires_grad_())
    anchor = View(pixels=moved.pixels.detach(), same_as=moved)
    outputs = [cache.forward(view, network, predictor) for view in (anchor, moved)]
    assert torch.equal(*outputs)
    assert passes(network) == [6]
    assert not outputs[0].requires_grad
    assert torch.autograd.grad(outputs[1].sum(), moved.pixels)[0].abs().sum() > 0


def test_views_that_share_an_output_count_once_together() -> None:
    network, cache = fresh(), ForwardCache()
    moved = View(pixels=pixels().requires_grad_())
    anchor = View(pixels=moved.pixels.detach(), same_as=moved)
    of_anchor, of_moved = cache.together([anchor, moved], network)
    assert passes(network) == [6]
    assert torch.equal(of_anchor, of_moved)
    assert (of_anchor.requires_grad, of_moved.requires_grad) == (False, True)


def test_views_of_one_size_and_one_set_of_norms_share_statistics() -> None:
    network, views = fresh(), as_views([pixels(0), 0.5 * pixels(1)])
    together = ForwardCache().together(views, network)
    assert passes(network) == [12]
    assert torch.equal(torch.cat(together), encoder()(torch.cat([view.pixels for view in views])))
    apart = [ForwardCache().forward(view, network) for view in views]
    assert not torch.isclose(together[0], apart[0]).all()


def test_views_of_other_sizes_go_through_one_by_one() -> None:
    network, views = fresh(), as_views([pixels(0), pixels(1, side=6)])
    found = ForwardCache().together(views, network)
    assert passes(network) == [6, 6]
    assert torch.equal(found[1], encoder()(views[1].pixels))


def test_each_set_of_norms_is_a_batch_of_its_own_and_the_order_is_kept() -> None:
    network = fresh()
    split_norms(network, momentum=0.5)
    clean, other = as_views([pixels(0), pixels(1)])
    attacked = View(pixels=pixels(2), norms="attacked")
    found = ForwardCache().together([clean, attacked, other], network)
    assert passes(network) == [12, 6]
    assert torch.equal(found[1], encoder()(attacked.pixels))
    both = encoder()(torch.cat([clean.pixels, other.pixels]))
    assert torch.equal(torch.cat([found[0], found[2]]), both)


def test_together_takes_what_was_made_before_and_makes_the_rest() -> None:
    network, cache, views = fresh(), ForwardCache(), as_views([pixels(0), pixels(1)])
    first = cache.forward(views[0], network)
    assert cache.together(views, network)[0] is first
    assert passes(network) == [6, 6]


def test_the_cache_knows_which_views_a_network_was_given() -> None:
    network, cache = fresh(), ForwardCache()
    given, withheld = as_views([pixels(0), pixels(0)])
    cache.forward(given, network)
    assert cache.has_seen(given)
    assert not cache.has_seen(withheld)
