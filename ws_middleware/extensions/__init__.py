"""The extensions this package ships."""

from ws_middleware.extensions.deflate_frame import DeflateFrame, XWebkitDeflateFrame
from ws_middleware.extensions.permessage_deflate import PermessageDeflate

__all__ = ["DeflateFrame", "PermessageDeflate", "XWebkitDeflateFrame"]
