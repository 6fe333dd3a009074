# cython: language_level=3
"""The functions of libnghttp2 that the engine calls, as `ngh2` brings them. See nghttp2.pyx."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from lbd.engine.sys cimport ssize_t

ctypedef void Session
ctypedef void Callbacks
ctypedef void Option

cdef enum:
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    FLAG_NONE = 0
    FLAG_END_STREAM = 1
    FLAG_ACK = 1
    HCAT_REQUEST = 0
    HCAT_RESPONSE = 1
    HCAT_HEADERS = 3
    DATA_FLAG_EOF = 1
    DATA_FLAG_NO_END_STREAM = 2
    DATA_FLAG_NO_COPY = 4
    SETTINGS_HEADER_TABLE_SIZE = 1
    SETTINGS_ENABLE_PUSH = 2
    SETTINGS_MAX_CONCURRENT_STREAMS = 3
    SETTINGS_INITIAL_WINDOW_SIZE = 4
    SETTINGS_MAX_HEADER_LIST_SIZE = 6
    SETTINGS_ENABLE_CONNECT_PROTOCOL = 8
    SETTINGS_NO_RFC7540_PRIORITIES = 9
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    REFUSED_STREAM = 7
    CANCEL = 8
    ENHANCE_YOUR_CALM = 11
    HTTP_1_1_REQUIRED = 13
    ERR_WOULDBLOCK = -504
    ERR_DEFERRED = -508
    ERR_TEMPORAL_CALLBACK_FAILURE = -521
    ERR_CALLBACK_FAILURE = -902
    ERR_FLOODED = -904
    NV_FLAG_NONE = 0
    NV_FLAG_NO_INDEX = 1

cdef struct NV:
    const uint8_t* name
    const uint8_t* value
    size_t name_len
    size_t value_len
    uint8_t flags

cdef struct FrameHead:
    size_t length
    int32_t stream_id
    uint8_t type
    uint8_t flags
    uint8_t reserved

cdef struct PrioritySpec:
    int32_t stream_id
    int32_t weight
    uint8_t exclusive

cdef struct Headers:
    FrameHead hd
    size_t padlen
    PrioritySpec priority
    NV* nva
    size_t nvlen
    int category

cdef struct Data:
    FrameHead hd
    size_t padlen

cdef struct RstStream:
    FrameHead hd
    uint32_t error_code

cdef struct Goaway:
    FrameHead hd
    int32_t last_stream_id
    uint32_t error_code

cdef union Frame:
    FrameHead hd
    Data data
    Headers headers
    RstStream rst_stream
    Goaway goaway

cdef struct SettingsEntry:
    int32_t id
    uint32_t value

cdef union DataSource:
    int fd
    void* ptr

ctypedef ssize_t (*ReadCallback)(Session*, int32_t, uint8_t*, size_t, uint32_t*, DataSource*, void*) noexcept
ctypedef int (*FrameHeadCallback)(Session*, const FrameHead*, void*) noexcept
ctypedef int (*FrameCallback)(Session*, const Frame*, void*) noexcept
ctypedef int (*HeaderCallback)(
    Session*, const Frame*, const uint8_t*, size_t, const uint8_t*, size_t, uint8_t, void*) noexcept
ctypedef int (*ChunkCallback)(Session*, uint8_t, int32_t, const uint8_t*, size_t, void*) noexcept
ctypedef int (*CloseCallback)(Session*, int32_t, uint32_t, void*) noexcept
ctypedef int (*SendDataCallback)(Session*, Frame*, const uint8_t*, size_t, DataSource*, void*) noexcept
ctypedef int (*InvalidFrameCallback)(Session*, const Frame*, int, void*) noexcept

cdef struct DataProvider:
    DataSource source
    ReadCallback read


cdef struct Nghttp2:
    int (*callbacks_new)(Callbacks**) noexcept
    void (*set_on_begin_frame_callback)(Callbacks*, FrameHeadCallback) noexcept
    void (*set_on_begin_headers_callback)(Callbacks*, FrameCallback) noexcept
    void (*set_on_header_callback)(Callbacks*, HeaderCallback) noexcept
    void (*set_on_invalid_header_callback)(Callbacks*, HeaderCallback) noexcept
    void (*set_on_frame_recv_callback)(Callbacks*, FrameCallback) noexcept
    void (*set_on_frame_send_callback)(Callbacks*, FrameCallback) noexcept
    void (*set_on_invalid_frame_recv_callback)(Callbacks*, InvalidFrameCallback) noexcept
    void (*set_on_data_chunk_recv_callback)(Callbacks*, ChunkCallback) noexcept
    void (*set_on_stream_close_callback)(Callbacks*, CloseCallback) noexcept
    void (*set_send_data_callback)(Callbacks*, SendDataCallback) noexcept
    int (*option_new)(Option**) noexcept
    void (*option_del)(Option*) noexcept
    void (*set_no_auto_window_update)(Option*, int) noexcept
    void (*set_max_deflate_dynamic_table_size)(Option*, size_t) noexcept
    void (*set_max_outbound_ack)(Option*, size_t) noexcept
    void (*set_max_settings)(Option*, size_t) noexcept
    void (*set_max_continuations)(Option*, size_t) noexcept
    void (*set_stream_reset_rate_limit)(Option*, uint64_t, uint64_t) noexcept
    void (*set_glitch_rate_limit)(Option*, uint64_t, uint64_t) noexcept
    void (*set_no_closed_streams)(Option*, int) noexcept
    void (*set_peer_max_concurrent_streams)(Option*, uint32_t) noexcept
    int (*server_new2)(Session**, const Callbacks*, void*, const Option*) noexcept
    int (*client_new2)(Session**, const Callbacks*, void*, const Option*) noexcept
    void (*session_del)(Session*) noexcept
    ssize_t (*mem_recv)(Session*, const uint8_t*, size_t) noexcept
    ssize_t (*mem_send)(Session*, const uint8_t**) noexcept
    int (*want_read)(Session*) noexcept
    int (*want_write)(Session*) noexcept
    int (*consume)(Session*, int32_t, size_t) noexcept
    int (*consume_connection)(Session*, size_t) noexcept
    int (*consume_stream)(Session*, int32_t, size_t) noexcept
    int (*resume_data)(Session*, int32_t) noexcept
    int (*set_local_window_size)(Session*, uint8_t, int32_t, int32_t) noexcept
    int (*set_stream_user_data)(Session*, int32_t, void*) noexcept
    void* (*get_stream_user_data)(Session*, int32_t) noexcept
    int32_t (*get_last_proc_stream_id)(Session*) noexcept
    uint32_t (*get_remote_settings)(Session*, int) noexcept
    int (*check_request_allowed)(Session*) noexcept
    int (*terminate_session)(Session*, uint32_t) noexcept
    int (*submit_settings)(Session*, uint8_t, const SettingsEntry*, size_t) noexcept
    int (*submit_response)(Session*, int32_t, const NV*, size_t, const DataProvider*) noexcept
    int32_t (*submit_request)(Session*, const PrioritySpec*, const NV*, size_t, const DataProvider*, void*) noexcept
    int32_t (*submit_headers)(Session*, uint8_t, int32_t, const PrioritySpec*, const NV*, size_t, void*) noexcept
    int (*submit_trailer)(Session*, int32_t, const NV*, size_t) noexcept
    int (*submit_rst_stream)(Session*, uint8_t, int32_t, uint32_t) noexcept
    int (*submit_shutdown_notice)(Session*) noexcept
    int (*submit_goaway)(Session*, uint8_t, int32_t, uint32_t, const uint8_t*, size_t) noexcept


cdef Nghttp2 nghttp2

cdef int load_nghttp2() except -1
