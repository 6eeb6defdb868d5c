"""Guards the loading of a model or tokenizer by name: a local folder, or an id of Hugging Face.

What comes from there is weights and words. Code of its own is never run, and nobody is asked
whether it may be: every process of a run would ask, most of them where nobody reads it.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from huggingface_hub import get_session, hf_hub_url
from safetensors import safe_open
from transformers import PretrainedConfig
from transformers.utils import logging
from transformers.utils.hub import cached_file, has_file

from common.errors import ConfigError
from common.foreign import boundary, ends_the_process, refuse_pointer, why

GIVE: Final = (
    "give a local folder that begins with ./, ../, / or ~, or an id that is in the cache or can be"
    " downloaded"
)
"""How else a model or a tokenizer may be named."""

_ADAPTER: Final = "adapter_config.json"
_CONFIG: Final = "config.json"
_WEIGHTS: Final = (".safetensors", ".bin")
_TIMEOUT_S: Final = 10.0
_OUT_OF_ORDER: Final = 500
"""The least status that says so."""
_FLOATS: Final = frozenset(("F64", "F32", "F16", "BF16"))
"""As the header of a safetensors file calls them."""

_OF_OWN_CODE: Final = "trust_remote_code"
"""What transformers says must be set, where a name asks for code that it does not have."""


@contextmanager
def named(setting: str, name: str, files: str, fix: str) -> Iterator[dict[str, Any]]:
    """Load something by name inside, with the options for the library that are yielded.

    Args:
        setting: that names it.
        name: an id or a folder, as `settings_of` returns them.
        files: a glob of those files in a local folder that must be more than pointers.
        fix: what else may be given.

    Raises:
        ConfigError: it cannot be loaded, or brings code of its own.
    """
    doing = f"{name!r} cannot be loaded"
    with boundary(setting, doing, fix):
        for path in sorted(Path(name).glob(files)):
            refuse_pointer(setting, path)
        away = _away(name)
    with boundary(setting, f"{doing}{away}", fix), without_bars():
        try:
            yield {"local_files_only": bool(away)}
        except ValueError as e:
            if _OF_OWN_CODE not in str(e):
                raise
            raise ConfigError(
                f"{setting}: {name!r} brings code of its own, which is never run: choose one that"
                " the installed transformers has built in, or write a learner of your own"
            ) from None


@contextmanager
def without_bars() -> Iterator[None]:
    """Let the library draw no bars inside: a process says itself how far it is."""
    drew = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if drew:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _away(name: str) -> str:
    """Return the words for a hub that does not answer; "" where it does, or need not.

    It is asked once: the libraries ask again and again, for most of a minute, and say so each time.
    """
    if Path(name).is_dir():
        return ""
    url = hf_hub_url(name, _CONFIG)
    try:
        status = get_session().head(url, timeout=_TIMEOUT_S).status_code
    except BaseException as e:
        if ends_the_process(e):
            raise
        return f": the hub does not answer ({why(e)}), and what is kept of it here is not enough"
    if status < _OUT_OF_ORDER:
        return ""
    return f": the hub is out of order ({status}), and what is kept of it here is not enough"


def refuse_unless_whole(
    setting: str, name: str, options: Mapping[str, Any], *, weights: bool
) -> None:
    """Let a model pass that is all there, its weights plain numbers.

    Args:
        setting: that names it.
        name: as `named` has it.
        options: that `named` yields.
        weights: whether they must be there; a plan asks for the configuration alone.

    Raises:
        ConfigError: it is an adapter, which one library lays over another model and the next does
            not see; or a folder of a configuration alone; or its weights are packed in few bits for
            inference.
    """
    if _has_adapter(name):
        raise ConfigError(
            f"{setting}: {name!r} holds an adapter of another model ({_ADAPTER}), such as LoRA:"
            " merge the two, or take the file away where its weights stand in the model already"
        )
    files = [path.name for path in Path(name).glob("*")]
    if weights and _CONFIG in files and not any(file.endswith(_WEIGHTS) for file in files):
        raise ConfigError(
            f"{setting}: {name!r}: the folder has no weights: put them there; or, to begin with"
            f" random ones, write its {_CONFIG}'s content under {setting}"
        )
    values: dict[str, Any] = PretrainedConfig.get_config_dict(name, **options)[0]
    if packed := values.get("quantization_config"):
        how = packed.get("quant_method", "few bits") if isinstance(packed, dict) else "few bits"
        raise ConfigError(
            f"{setting}: {name!r} holds weights quantised for inference ({how}), which cannot be"
            " trained: name the model that they were made from, in float32, bfloat16 or float16"
        )


def refuse_packed(setting: str, name: str, parameters: Collection[str]) -> None:
    """Let weights pass whose values are floats of at least 16 bits, as their files say.

    Libraries cast what is in the files without a word, and of integers that were meant to be scaled
    little is left.

    Args:
        parameters: names of what is trained; buffers may be whole numbers.

    Raises:
        ConfigError: a parameter's values are integers, or of 8 bits.
    """
    place = Path(name) if Path(name).is_dir() else _kept(name)
    for path in sorted(place.glob("*.safetensors")) if place else ():
        with safe_open(path, "numpy") as file:
            for tensor in file.keys():  # noqa: SIM118 - it is no mapping
                dtype = file.get_slice(tensor).get_dtype()
                if dtype in _FLOATS:
                    continue
                # some files leave out what their model's names begin with
                if any(f".{p}".endswith(f".{tensor}") for p in parameters):
                    raise ConfigError(
                        f"{setting}: {name!r} holds {tensor} as {dtype} ({path.name}): quantised"
                        " for inference, it cannot be trained: name the model it was made from, in"
                        " float32, bfloat16 or float16"
                    )


def _kept(name: str) -> Path | None:
    """Return the folder in the cache that was just loaded from."""
    found = cached_file(name, _CONFIG, local_files_only=True)
    return None if found is None else Path(found).parent


def _has_adapter(name: str) -> bool:
    """Return whether an adapter is there: in the folder, at the hub, or in what is kept of it.

    The hub is asked once: what is missing would be asked for again and again where it is away.
    """
    try:
        with boundary("", "the hub does not say"):
            return bool(has_file(name, _ADAPTER))
    except ConfigError:  # it is away, or lets nobody in: what follows says so where that matters
        return bool(has_file(name, _ADAPTER, local_files_only=True))
