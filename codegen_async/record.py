"""What all models have in common: how they are shown, written, and handed to pydantic and notebooks."""

from __future__ import annotations

import enum
import html
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self, TypeVar, cast

import msgspec

M = TypeVar("M", bound="Model")

_LONGEST = 60  # characters of a value in a line or a cell


class Model(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Hold what a server sent. Frozen; unknown fields are left out."""

    _brief: ClassVar[tuple[str, ...]] = ()  # what one line shows of it; nothing stands for all

    @property
    def odd(self) -> Mapping[str, Any]:
        """The optional fields whose shape was not the documented one, as sent. Where they are read they are None."""
        odd: Mapping[str, Any] = vars(self).get("odd", {})
        return odd

    def __copy__(self) -> Self:
        return _remade(type(self), msgspec.structs.asdict(self), vars(self))

    def __reduce__(self) -> tuple[object, ...]:
        return _remade, (type(self), msgspec.structs.asdict(self), vars(self))  # by default what is noted gets lost

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values, with the `phase` of each run; what was not asked for is left out."""
        names = (*self.__struct_fields__, *_derived(type(self)))
        values = {name: getattr(self, name) for name in names}
        return {name: _plain(value) for name, value in values.items() if value is not msgspec.UNSET}

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yield the names and values of `to_dict`: so `dict(run)` is that, and FastAPI writes it without a type."""
        return iter(self.to_dict().items())

    def to_json(self) -> str:
        """Return it as JSON text; see `to_dict`. Numbers that JSON does not know are null."""
        return msgspec.json.encode(self.to_dict()).decode()

    def __repr__(self) -> str:
        if not self._brief:
            return super().__repr__()
        return f"{type(self).__name__}({', '.join(f'{name}={_short(getattr(self, name))}' for name in self._brief)})"

    def _repr_html_(self) -> str:
        """Return a table, for notebooks. All of it is escaped: it is the text of others."""
        names = self._brief or self.__struct_fields__
        rows = next((value for name in names if _are_models(value := getattr(self, name))), (self,))
        columns = rows[0]._brief or rows[0].__struct_fields__  # noqa: SLF001 - of the same class
        head = "".join(f"<th>{name}</th>" for name in columns)
        body = "".join(f"<tr>{''.join(_cell(getattr(row, name)) for name in columns)}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    @classmethod
    def _read_hook(cls, kind: type, value: object) -> Any:
        """Read types that msgspec does not know; see its `dec_hook`."""
        raise NotImplementedError(f"{kind.__name__} cannot be read from {type(value).__name__}")

    @classmethod
    def _take(cls, value: object) -> Self:
        """Return what pydantic is given, if it is one of these or what `to_dict` makes of it."""
        if isinstance(value, cls):
            return value
        try:
            return msgspec.convert(value, cls, dec_hook=cls._read_hook)
        except msgspec.ValidationError as error:  # a ValueError, as pydantic wants it, in newer msgspec only
            raise ValueError(str(error)) from None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Let pydantic take and write it. It asks, so it is there to be imported."""
        from pydantic_core import core_schema  # noqa: PLC0415 - no dependency of ours

        write = core_schema.plain_serializer_function_ser_schema(cls.to_dict)
        return core_schema.no_info_plain_validator_function(cls._take, serialization=write)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        """Describe it for pydantic and OpenAPI, whole, as what it refers to has no place of its own there."""
        return _described(cls)


def _remade(kind: type[M], fields: Mapping[str, Any], notes: Mapping[str, Any]) -> M:
    made = kind(**fields)
    vars(made).update(notes)
    return made


def _derived(kind: type[Model]) -> tuple[str, ...]:
    """Return the properties that are written like fields: where a run stands, in our words."""
    return ("phase",) if hasattr(kind, "phase") else ()


def _plain(value: Any) -> Any:
    if isinstance(value, Model):
        return value.to_dict()
    if isinstance(value, tuple | list):
        return [_plain(one) for one in cast("tuple[Any, ...]", value)]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in cast("dict[str, Any]", value).items()}
    return value.value if isinstance(value, enum.Enum) else value


def _short(value: Any) -> str:
    """Return a value in a few characters on one line; of many things, how many."""
    if isinstance(value, tuple | list):
        return f"<{len(cast('tuple[Any, ...]', value))}>"
    return _cut(value.value if isinstance(value, enum.Enum) else repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) and not isinstance(value, enum.Enum) else _short(value)
    shown = html.escape(_cut(text))
    if isinstance(value, str) and value.startswith(("https://", "http://")):
        return f'<td><a href="{html.escape(value)}" rel="noreferrer">{shown}</a></td>'
    return f"<td>{'' if value is None else shown}</td>"


def _are_models(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(one, Model) for one in cast("tuple[object, ...]", value))


def _described(kind: type[Model]) -> dict[str, Any]:
    """Return the JSON schema of a model, with what it refers to in place; what holds itself ends as an object."""
    (schema,), parts = msgspec.json.schema_components([kind], schema_hook=_free, ref_template="{name}")
    return cast("dict[str, Any]", _placed(schema, parts, ()))


def _placed(schema: Any, parts: Mapping[str, Any], within: tuple[str, ...]) -> Any:
    if isinstance(schema, list):
        return [_placed(one, parts, within) for one in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    fields = cast("dict[str, Any]", schema)
    name = fields.get("$ref")
    if not isinstance(name, str):
        return {key: _placed(value, parts, within) for key, value in fields.items()}
    if name in within:
        return {"title": name, "type": "object"}
    return _with_derived(name, _placed(parts[name], parts, (*within, name)))


def _with_derived(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    kind = next((kind for kind in _kinds(Model) if kind.__name__ == name), Model)
    derived = {name: {"type": "string"} for name in _derived(kind)}
    return {**schema, "properties": {**schema.get("properties", {}), **derived}} if derived else schema


def _kinds(kind: type[Model]) -> list[type[Model]]:
    return [kind, *(found for sub in kind.__subclasses__() for found in _kinds(sub))]


def _free(kind: type) -> dict[str, Any]:
    """Describe what is kept as sent: objects, and lists of them."""
    return {"type": "object"} if issubclass(kind, dict) else {"type": "array", "items": {"type": "object"}}
