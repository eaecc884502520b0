"""Module fields in the text format (section 6.6).

Identifiers may be used before they are defined, so a module is read twice: `declare` binds the
identifiers of all fields and skips their contents, then types are defined, then `define` reads the
other fields in order, which is also the order in which implicit types are added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinywasm.codec import write_instruction, write_storagetype, write_vector
from tinywasm.instructions import BY_NAME
from tinywasm.interruption import STEPS, look, watched
from tinywasm.leb128 import write_unsigned
from tinywasm.syntax import (
    EXTERN_KINDS,
    DataSegment,
    DecodedModule,
    ElementSegment,
    Export,
    Expr,
    FuncImport,
    Function,
    Global,
    Import,
    ImportDesc,
    Table,
)
from tinywasm.text.annotations import CustomSections, check_all_used, name_annotation
from tinywasm.text.cursor import Cursor
from tinywasm.text.identifiers import IndexSpace, Scope, at_index
from tinywasm.text.parse_code import CodeParser
from tinywasm.text.typedefs import TypeParser, TypeUse
from tinywasm.types import AbstractHeap, Limits, MemoryType, NumType, RefType, TableType, TagType, ValType

_FUNC_REF = RefType(False, AbstractHeap.FUNC)
FIELDS = frozenset({"type", "rec", "import", *EXTERN_KINDS, "export", "start", "elem", "data"})


@dataclass(slots=True)
class _Field:
    """A field that was declared: `token` is its keyword's index, `index` that in its index space."""

    keyword: str
    token: int
    index: int


class ModuleParser:
    """Reads the fields of one module, up to a `)` that is not theirs or the end of the input."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.scope = Scope()
        self.types = TypeParser(cursor, self.scope.types, self.scope.names)
        self.code = CodeParser(cursor, self.scope, self.types)
        self.customs = CustomSections(cursor)
        self.functions: list[Function] = []
        self.datas: list[DataSegment] = []
        self.module = DecodedModule(functions=self.functions, datas=self.datas)
        self.module.names = self.scope.names
        self._fields: list[_Field] = []
        self._imported_functions = 0
        # The first kind that was defined, rather than imported: no import may follow.
        self._defined: str | None = None

    def parse(self, name: str | None) -> DecodedModule:
        """The whole module, `name` being the identifier behind the word `module`.

        Raises `ParseError`, and `ValidationError` for a branch hint on another instruction.
        """
        start = self.cursor.index
        self.scope.names.module = name_annotation(self.cursor, name, "module")
        self._declare_fields()
        end = self.cursor.index
        for field in watched(self._fields):
            if field.keyword in ("type", "rec"):
                self.cursor.index = field.token
                self.types.define_group()
        for field in watched(self._fields):
            if field.keyword not in ("type", "rec"):
                self.cursor.index = field.token + 1
                _DEFINE[field.keyword](self, field.index)
        self.cursor.index = end
        check_all_used(self.cursor, start, end)
        return self._finish()

    def _finish(self) -> DecodedModule:
        module = self.module
        module.types = self.types.groups
        if self.code.needs_data_count:
            module.data_count = len(module.datas)
        module.customs = self.customs.sections(self._present_sections())
        return module

    def _present_sections(self) -> set[str]:
        module = self.module
        contents = {
            "type": module.types,
            "import": module.imports,
            "func": module.functions,
            "table": module.tables,
            "memory": module.memories,
            "tag": module.tags,
            "global": module.globals,
            "export": module.exports,
            "elem": module.elems,
            "code": module.functions,
            "data": module.datas,
        }
        present = {kind for kind, content in contents.items() if content}
        if module.start is not None:
            present.add("start")
        if module.data_count is not None:
            present.add("datacount")
        return present

    # First pass

    def _declare_fields(self) -> None:
        cursor = self.cursor
        while True:
            self.customs.collect()
            if cursor.peek() != "(":
                return
            keyword = cursor.peek(1)
            if keyword not in FIELDS:
                raise cursor.unexpected(cursor.index + 1)
            field = _Field(keyword, cursor.index + 1, 0)
            cursor.index += 2
            field.index = self._declare(keyword, field.token)
            self._fields.append(field)
            cursor.skip_form()
            if len(self._fields) % STEPS == 0:
                look()

    def _declare(self, keyword: str, token: int) -> int:
        cursor = self.cursor
        if keyword == "rec":
            self._declare_group()
        elif keyword == "import":
            self._declare_import(token)
        elif keyword in EXTERN_KINDS:
            return self._declare_definition(keyword, token)
        elif keyword in self.scope.spaces:
            return self.scope.spaces[keyword].bind(cursor)
        return 0

    def _declare_group(self) -> None:
        index = self.cursor.index
        while self.cursor.take_form("type"):
            self.scope.types.bind(self.cursor)
            self.cursor.skip_form()
        self.cursor.index = index

    def _declare_import(self, token: int) -> None:
        cursor = self.cursor
        self._check_import_order(token)
        cursor.string()
        cursor.string()
        cursor.expect("(")
        keyword = cursor.advance()
        if keyword not in EXTERN_KINDS:
            raise cursor.unexpected(cursor.index - 1)
        self.scope.spaces[keyword].bind(cursor)
        cursor.skip_form()

    def _check_import_order(self, token: int) -> None:
        if self._defined:
            raise self.cursor.error(f"import after {self._defined}", token)

    def _declare_definition(self, keyword: str, token: int) -> int:
        cursor = self.cursor
        index = self.scope.spaces[keyword].bind(cursor)
        start = cursor.index
        while cursor.take_form("export"):
            cursor.skip_form()
        if cursor.at_form("import"):
            self._check_import_order(token)
        else:
            self._defined = self._defined or f"{'function' if keyword == 'func' else keyword} definition"
            self._declare_inline_segment(keyword)
        cursor.index = start
        return index

    def _declare_inline_segment(self, keyword: str) -> None:
        """A table or a memory that is given by its contents defines a segment too."""
        cursor = self.cursor
        if keyword not in ("table", "memory"):
            return
        self.types.address()
        if keyword == "table" and not at_index(cursor):
            self.scope.spaces["elem"].count += 1
        elif keyword == "memory":
            if cursor.take_form("pagesize"):
                cursor.skip_form()
            if cursor.at_form("data"):
                self.scope.spaces["data"].count += 1

    # Second pass: one method a field, the cursor standing behind its keyword

    def _import(self, _: int) -> None:
        module, name = self.cursor.name(), self.cursor.name()
        self.cursor.expect("(")
        keyword = self.cursor.advance()
        self.cursor.identifier()
        self.module.imports.append(Import(module, name, self._import_desc(keyword)))
        self.cursor.close()
        self.cursor.close()

    def _import_desc(self, keyword: str) -> ImportDesc:
        if keyword == "func":
            return self._imported_function()
        if keyword == "table":
            return self.types.tabletype()
        if keyword == "memory":
            return self.types.memorytype()
        if keyword == "global":
            return self.types.globaltype()
        return TagType(self.types.index_of(self.types.type_use()))

    def _imported_function(self) -> FuncImport:
        use = self.types.type_use()
        params = self._param_space(use)
        if params.display:
            self.scope.names.locals[self._imported_functions] = params.display
        self._imported_functions += 1
        return FuncImport(self.types.index_of(use))

    def _header(self, keyword: str, index: int) -> bool:
        """Identifier, inline exports and inline import; whether it was an import, read to its end."""
        cursor = self.cursor
        cursor.identifier()
        while cursor.take_form("export"):
            self.module.exports.append(Export(cursor.name(), keyword, index))
            cursor.close()
        if not cursor.take_form("import"):
            return False
        module, name = cursor.name(), cursor.name()
        cursor.close()
        self.module.imports.append(Import(module, name, self._import_desc(keyword)))
        cursor.close()
        return True

    def _param_space(self, use: TypeUse) -> IndexSpace:
        """A local index space that holds the inline parameters."""
        space = IndexSpace("local", {})
        after = self.cursor.index
        for binding in use.params:
            if binding is None:
                space.count += 1
            else:
                self.cursor.index = binding
                space.bind(self.cursor)
        self.cursor.index = after
        return space

    def _func(self, index: int) -> None:
        if self._header("func", index):
            return
        use = self.types.type_use()
        type_index = self.types.index_of(use)
        space = self._param_space(use)
        if not use.params:
            params = self.types.params_of(type_index)
            space.count = len(params or ())
            if params is None and self.cursor.at_form("local") and self.cursor.peek(2).startswith("$"):
                raise self.cursor.error(f"unknown type {type_index}", use.token)
        locals_ = self._locals(space)
        body = self.code.body(space)
        self.cursor.close()
        self.functions.append(Function(type_index, locals_, body))
        self._note_function(index, space, locals_)

    def _note_function(self, index: int, space: IndexSpace, locals_: Sequence[tuple[int, ValType]]) -> None:
        if space.display:
            self.scope.names.locals[index] = space.display
        if self.code.label_names:
            self.scope.names.labels[index] = self.code.label_names
        if self.code.hints:
            start = len(write_vector(_write_local, locals_))
            self.module.branch_hints[index] = [(start + offset, hint) for offset, hint in self.code.hints]

    def _locals(self, space: IndexSpace) -> tuple[tuple[int, ValType], ...]:
        runs: list[tuple[int, ValType]] = []
        cursor = self.cursor
        while cursor.take_form("local"):
            if cursor.peek().startswith("$") or cursor.annotations():
                space.bind(cursor)
                types = [self.types.valtype()]
                cursor.close()
            else:
                types = self.types.valtypes()
                space.count += len(types)
            for valtype in types:
                if runs and runs[-1][1] == valtype:
                    runs[-1] = (runs[-1][0] + 1, valtype)
                else:
                    runs.append((1, valtype))
        return tuple(runs)

    def _table(self, index: int) -> None:
        if self._header("table", index):
            return
        address = self.types.address()
        if not at_index(self.cursor):
            self._table_by_contents(index, address)
            return
        limits = self.types.limits()
        tabletype = TableType(self.types.reftype(), limits, address)
        init = None if self.cursor.peek() == ")" else self.code.expression()
        self.cursor.close()
        self.module.tables.append(Table(tabletype, init))

    def _table_by_contents(self, index: int, address: NumType) -> None:
        """`(table reftype (elem ...))`, short for a table of that size and an active segment."""
        reftype = self.types.reftype()
        self.cursor.expect_form("elem")
        init = self._function_list() if at_index(self.cursor) else self._element_expressions()
        self.cursor.close()
        self.cursor.close()
        exprs = tuple(item if isinstance(item, Expr) else _ref_func(item) for item in init)
        size = len(exprs)
        self.module.tables.append(Table(TableType(reftype, Limits(size, size), address)))
        self.module.elems.append(ElementSegment(reftype, exprs, "active", index, _zero(address)))

    def _memory(self, index: int) -> None:
        if self._header("memory", index):
            return
        cursor, address = self.cursor, self.types.address()
        if at_index(cursor):
            limits = self.types.limits()
            self.module.memories.append(MemoryType(limits, address, self.types.page_size()))
            cursor.close()
            return
        page_size = self.types.page_size()
        cursor.expect_form("data")
        data = cursor.strings()
        cursor.close()
        cursor.close()
        pages = -(-len(data) // page_size)
        self.module.memories.append(MemoryType(Limits(pages, pages), address, page_size))
        self.datas.append(DataSegment(data, index, _zero(address)))

    def _global(self, index: int) -> None:
        if self._header("global", index):
            return
        globaltype = self.types.globaltype()
        self.module.globals.append(Global(globaltype, self.code.expression()))
        self.cursor.close()

    def _tag(self, index: int) -> None:
        if self._header("tag", index):
            return
        self.module.tags.append(TagType(self.types.index_of(self.types.type_use())))
        self.cursor.close()

    def _export(self, _: int) -> None:
        cursor = self.cursor
        name = cursor.name()
        cursor.expect("(")
        kind = cursor.advance()
        if kind not in EXTERN_KINDS:
            raise cursor.unexpected(cursor.index - 1)
        self.module.exports.append(Export(name, kind, self.scope.spaces[kind].resolve(cursor)))
        cursor.close()
        cursor.close()

    def _start(self, _: int) -> None:
        if self.module.start is not None:
            raise self.cursor.error("multiple start sections", self.cursor.index - 1)
        self.module.start = self.scope.spaces["func"].resolve(self.cursor)
        self.cursor.close()

    def _elem(self, _: int) -> None:
        cursor = self.cursor
        cursor.identifier()
        mode, table, offset, implicit = "passive", 0, None, False
        if cursor.take("declare"):
            mode = "declarative"
        elif cursor.peek() == "(" and not self.types.at_valtype():
            mode, implicit = "active", not cursor.at_form("table")
            table = self._target("table")
            offset = self._offset()
        reftype, init = self._element_list(implicit)
        cursor.close()
        self.module.elems.append(ElementSegment(reftype, init, mode, table, offset))

    def _target(self, kind: str) -> int:
        """The optional `(table x)` or `(memory x)` of an active segment."""
        if not self.cursor.take_form(kind):
            return 0
        index = self.scope.spaces[kind].resolve(self.cursor)
        self.cursor.close()
        return index

    def _offset(self) -> Expr:
        if not self.cursor.take_form("offset"):
            return self.code.folded_expression()
        offset = self.code.expression()
        self.cursor.close()
        return offset

    def _element_list(self, implicit: bool) -> tuple[RefType, tuple[int, ...] | tuple[Expr, ...]]:
        """Elements; the word `func` may be missing where the table is implicit too."""
        if self.cursor.take("func") or (implicit and not self.types.at_valtype()):
            return _FUNC_REF, self._function_list()
        return self.types.reftype(), self._element_expressions()

    def _function_list(self) -> tuple[int, ...]:
        functions = []
        while at_index(self.cursor):
            functions.append(self.scope.spaces["func"].resolve(self.cursor))
        return tuple(functions)

    def _element_expressions(self) -> tuple[Expr, ...]:
        items = []
        while self.cursor.peek() == "(":
            if self.cursor.take_form("item"):
                items.append(self.code.expression())
                self.cursor.close()
            else:
                items.append(self.code.folded_expression())
        return tuple(items)

    def _data(self, _: int) -> None:
        cursor = self.cursor
        cursor.identifier()
        memory, offset = 0, None
        if cursor.peek() == "(":
            memory = self._target("memory")
            offset = self._offset()
        data = cursor.strings()
        cursor.close()
        self.datas.append(DataSegment(data, memory, offset))


_DEFINE: dict[str, Callable[[ModuleParser, int], None]] = {
    "import": ModuleParser._import,
    "func": ModuleParser._func,
    "table": ModuleParser._table,
    "memory": ModuleParser._memory,
    "global": ModuleParser._global,
    "tag": ModuleParser._tag,
    "export": ModuleParser._export,
    "start": ModuleParser._start,
    "elem": ModuleParser._elem,
    "data": ModuleParser._data,
}


def _write_local(run: tuple[int, ValType]) -> bytes:
    return write_unsigned(run[0]) + write_storagetype(run[1])


def _constant(name: str, immediate: int) -> Expr:
    code = write_instruction(BY_NAME[name][0], (immediate,)) + write_instruction(BY_NAME["end"][0])
    return Expr(code, 0, len(code))


def _zero(address: NumType) -> Expr:
    return _constant(f"{address}.const", 0)


def _ref_func(index: int) -> Expr:
    return _constant("ref.func", index)
