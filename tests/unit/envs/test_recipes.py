"""The recipe that fits a machine, and why one does not."""

from importlib.resources import files

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from qtool.envs.machine import Machine
from qtool.envs.recipes import choose_variant, find_recipe, load_recipes
from qtool.errors import EnvironmentFault, NotFoundError

CPU = Machine("Linux", "x86_64")
JETSON = Machine("Linux", "aarch64", ((8, 7),), is_jetson=True)
VARIANTS = [
    pytest.param(recipe, variant, id=f"{recipe.name}-{variant.name}")
    for recipe in load_recipes().values()
    for variant in recipe.variants
]


def with_gpu(*capabilities: tuple[int, int], cuda: int | None = 12) -> Machine:
    return Machine("Linux", "x86_64", capabilities, highest_cuda_major=cuda)


@pytest.mark.parametrize(
    ("recipe", "machine", "variant"),
    [
        ("gguf", CPU, "cpu"),
        ("gguf", Machine("Darwin", "arm64"), "metal"),
        ("gguf", JETSON, "cpu"),
        ("gguf", with_gpu((8, 6)), "nvidia"),
        ("gguf", with_gpu((5, 2)), "cpu"),
        ("transformers", CPU, "cpu"),
        ("transformers", with_gpu((8, 9), (7, 5)), "nvidia"),
        ("auto-gptq", with_gpu((7, 0)), "nvidia"),
        ("auto-gptq", with_gpu((12, 0)), "cpu"),
        ("auto-gptq", with_gpu((8, 0), cuda=11), "cpu"),
        ("autoawq", with_gpu((8, 0)), "nvidia"),
        ("autoawq-t4", with_gpu((7, 5)), "nvidia"),
        ("vllm", with_gpu((9, 0), cuda=None), "nvidia"),
    ],
)
def test_the_first_variant_that_fits_is_taken(recipe: str, machine: Machine, variant: str) -> None:
    assert choose_variant(find_recipe(recipe), machine).name == variant


@pytest.mark.parametrize(
    ("recipe", "machine", "why", "instead"),
    [
        ("vllm", CPU, "needs an NVIDIA GPU", "transformers"),
        ("autoawq", with_gpu((7, 0)), "7.5 to 9.0, a GPU here has 7.0", "transformers"),
        ("autoawq", with_gpu((8, 0), (12, 0)), "a GPU here has 12.0", "transformers"),
        ("autoawq", with_gpu((8, 0), cuda=11), "this one runs CUDA 11", "transformers"),
        ("autoawq-t4", with_gpu((8, 0)), "7.5 to 7.5", "transformers"),
        ("transformers", Machine("Darwin", "arm64"), "this is Darwin", "gguf"),
        ("vllm", JETSON, "no code for a Jetson", "transformers"),
    ],
)
def test_a_refusal_says_why_and_what_instead(
    recipe: str, machine: Machine, why: str, instead: str
) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        choose_variant(find_recipe(recipe), machine)

    assert why in caught.value.message
    assert caught.value.hint == f"qtool env create {instead}"


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(NotFoundError) as caught:
        find_recipe("autogptq")

    assert caught.value.hint == "qtool env create auto-gptq"


@pytest.mark.parametrize(("recipe", "variant"), VARIANTS)
def test_every_variant_can_be_carried_out(recipe, variant) -> None:
    for one in (*variant.requirements, *variant.bare):
        Requirement(one)
    assert SpecifierSet(variant.python)
    assert variant.torch is None or SpecifierSet(variant.torch)
    assert all(f"{minor}.0" in SpecifierSet(variant.python) for minor in variant.prefer)
    assert files("qtool.envs.probes").joinpath(f"{variant.probe}.py").is_file()
    assert recipe.instead is None or recipe.instead in load_recipes()
    if variant.gpu:
        assert "--gpu" in variant.probe_arguments
