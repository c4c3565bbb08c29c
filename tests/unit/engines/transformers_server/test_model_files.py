import pytest

from qtool.engines.transformers_server.model_files import (
    DamagedFile,
    check_generation_config,
    check_templates,
)


@pytest.mark.parametrize("value", ["x", 1.5, True, ["x"], [1, None], {}])
def test_end_that_is_no_token_is_told_with_file_and_field(value: object):
    with pytest.raises(DamagedFile, match=r"generation_config\.json: eos_token_id is "):
        check_generation_config({"eos_token_id": value})


@pytest.mark.parametrize("value", [None, 2, [1, 2], []])
def test_ends_that_are_tokens_pass(value: object):
    check_generation_config({"eos_token_id": value})
    check_generation_config({})


@pytest.mark.parametrize(
    ("entry", "field"),
    [({"name": "default"}, "template"), ({"template": "x"}, "name"), ("x", "name")],
)
def test_template_of_a_list_that_lacks_a_part_is_told(entry: object, field: str):
    good = {"name": "default", "template": "{{ messages }}"}
    with pytest.raises(DamagedFile, match=rf"chat_template\[1\] has no {field}"):
        check_templates({"chat_template": [good, entry]})


@pytest.mark.parametrize("value", [None, "{{ messages }}", [], [{"name": "a", "template": ""}]])
def test_templates_that_are_whole_pass(value: object):
    check_templates({"chat_template": value})
