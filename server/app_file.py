"""Reading the `main.py` of an app without importing it, which would import MONAI Label and PyTorch."""

from __future__ import annotations

import ast
from pathlib import Path

_MODULES = {
    "__future__",
    "typing",
    "monailabel.interfaces.app",
    "server.app",
    "server.shell",  # former name
    "pool.imaging.decathlon",
}
_NAMES = {"bundle", "name", "description", "version"}
# how former versions of `apps/volumes` gave the settings of a data set, which `Shell` adds now
_FORMER_CONF = "{**task_settings(studies, conf.get('dataset', '')), **conf}"


def bundle_of_app(file: Path) -> str | None:
    """Return the bundle of an app whose `main.py` only names its parts, as `new-app` writes it.

    None for one that does anything else, such as overriding `init_datastore`, importing a module of its own
    or changing `conf`: what it does to its pool is known only after building it.

    Raises ValueError, which names the file, when it is not Python.
    """
    try:
        statements = _without_docstring(ast.parse(file.read_bytes(), str(file)).body)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{file}: cannot be read as Python ({error}); repair it") from error
    classes = [node for node in statements if isinstance(node, ast.ClassDef)]
    others = [node for node in statements if not isinstance(node, ast.ClassDef)]
    if len(classes) != 1 or not all(map(_is_plain_import, others)):
        return None
    call = _only_call(classes[0])
    return _bundle_in(call) if call else None


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    is_text = bool(body) and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
    return body[1:] if is_text else body


def _is_plain_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.level == 0 and node.module in _MODULES


def _only_call(app: ast.ClassDef) -> ast.Call | None:
    """Return the call that is all that an app's class does, in its `__init__`; None if it does more."""
    if [ast.unparse(base) for base in app.bases] != ["Shell", "MONAILabelApp"]:
        return None
    if app.decorator_list or app.keywords:
        return None
    match _without_docstring(app.body):
        case [ast.FunctionDef(name="__init__", decorator_list=[]) as init]:
            names = [argument.arg for argument in init.args.args]
            match _without_docstring(init.body):
                case [ast.Expr(value=ast.Call() as call)] if names == ["self", "app_dir", "studies", "conf"]:
                    return call
    return None


def _bundle_in(call: ast.Call) -> str | None:
    """Return the bundle that a call of `super().__init__` names; None if it passes anything unusual."""
    arguments = [ast.unparse(argument) for argument in call.args]
    if ast.unparse(call.func) != "super().__init__" or arguments[:2] != ["app_dir", "studies"]:
        return None
    if arguments[2:] not in (["conf"], [_FORMER_CONF]):
        return None
    values = {word.arg: word.value for word in call.keywords}
    if not values.keys() <= _NAMES or not all(isinstance(v, ast.Constant) for v in values.values()):
        return None
    bundle = values.get("bundle")
    return bundle.value if isinstance(bundle, ast.Constant) and isinstance(bundle.value, str) else None
