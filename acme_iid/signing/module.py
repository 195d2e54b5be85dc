"""A PKCS #11 module, initialized for several threads."""

from __future__ import annotations

import ctypes
from typing import Any

from pkcs11 import _pkcs11, exceptions

_OK, _CANT_LOCK, _OS_LOCKING = 0, 0xA, 2


class _Arguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS (PKCS #11 section 3.7)."""

    _fields_ = (
        ("mutex", ctypes.c_void_p * 4),
        ("flags", ctypes.c_ulong),
        ("reserved", ctypes.c_void_p),
    )


class _FunctionList(ctypes.Structure):
    """The beginning of CK_FUNCTION_LIST (PKCS #11 section 3.6)."""

    _fields_ = (
        ("version", ctypes.c_ubyte * 2),
        ("initialize", ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)),
        ("finalize", ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)),
    )


class Module(_pkcs11.lib):
    """A module, initialized for several threads.

    The library's own ``initialize`` says that one thread alone will call; SoftHSM, for one, then locks nothing.

    :ivar threaded: False if the module can't have several threads.
    """

    threaded = True

    def initialize(self) -> None:
        """Initialize the module; called when it is made, and after :meth:`finalize`."""
        arguments = _Arguments(flags=_OS_LOCKING)
        result = self._functions().initialize(ctypes.addressof(arguments))
        if result == _CANT_LOCK:
            self.threaded = False
            result = self._functions().initialize(None)
        if result != _OK:
            raise exceptions.PKCS11Error(f"C_Initialize answers {result:#x}")

    def finalize(self) -> None:
        """Undo :meth:`initialize`, and with it all sessions."""
        self._functions().finalize(None)

    def _functions(self) -> Any:
        functions = ctypes.POINTER(_FunctionList)()
        result = ctypes.CDLL(self.so).C_GetFunctionList(ctypes.byref(functions))
        if result != _OK:
            raise exceptions.PKCS11Error(f"C_GetFunctionList answers {result:#x}")
        return functions.contents
