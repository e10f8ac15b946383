from ws_middleware.carrier import Carrier as Carrier
from ws_middleware.core.lanes import Intake as Intake
from ws_middleware.core.lanes import Outlet as Outlet
from ws_middleware.core.pure import decode_frames as decode_frames
from ws_middleware.core.pure import decode_messages as decode_messages
from ws_middleware.core.pure import encode_frame as encode_frame
from ws_middleware.core.pure import mask as mask
from ws_middleware.core.pure import mask_in_place as mask_in_place
