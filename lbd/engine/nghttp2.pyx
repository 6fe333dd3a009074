# cython: language_level=3
"""libnghttp2 as the extension module of `ngh2` brings it (foreign.pyx says why): a table of its functions.

The declarations are those of nghttp2.h 1.65 and later. `ngh2` is pinned to a minor version, because the symbols of its
module are no promise of it; when they are missing, the import says so.
"""

from lbd.engine.foreign cimport Library

cdef bint ready = False


cdef int load_nghttp2() except -1:
    """Find all functions, once. MissingLibrary when this build of ngh2 cannot serve."""
    global ready
    cdef Library library
    if ready:
        return 0
    from ngh2 import _core
    library = Library(_core, "nghttp2 of the package ngh2")
    (<void**> &nghttp2.callbacks_new)[0] = library.find(b"nghttp2_session_callbacks_new")
    (<void**> &nghttp2.set_on_begin_frame_callback)[0] = library.find(
        b"nghttp2_session_callbacks_set_on_begin_frame_callback")
    (<void**> &nghttp2.set_on_begin_headers_callback)[0] = library.find(
        b"nghttp2_session_callbacks_set_on_begin_headers_callback")
    (<void**> &nghttp2.set_on_header_callback)[0] = library.find(b"nghttp2_session_callbacks_set_on_header_callback")
    (<void**> &nghttp2.set_on_invalid_header_callback)[0] = library.find(
        b"nghttp2_session_callbacks_set_on_invalid_header_callback")
    (<void**> &nghttp2.set_on_frame_recv_callback)[0] = library.find(
        b"nghttp2_session_callbacks_set_on_frame_recv_callback")
    (<void**> &nghttp2.set_on_frame_send_callback)[0] = library.find(
        b"nghttp2_session_callbacks_set_on_frame_send_callback")
    (<void**> &nghttp2.set_on_invalid_frame_recv_callback)[0] = library.find(
        b"nghttp2_session_callbacks_set_on_invalid_frame_recv_callback")
    (<void**> &nghttp2.set_on_data_chunk_recv_callback)[0] = library.find(
        b"nghttp2_session_callbacks_set_on_data_chunk_recv_callback")
    (<void**> &nghttp2.set_on_stream_close_callback)[0] = library.find(
        b"nghttp2_session_callbacks_set_on_stream_close_callback")
    (<void**> &nghttp2.set_send_data_callback)[0] = library.find(b"nghttp2_session_callbacks_set_send_data_callback")
    (<void**> &nghttp2.option_new)[0] = library.find(b"nghttp2_option_new")
    (<void**> &nghttp2.option_del)[0] = library.find(b"nghttp2_option_del")
    (<void**> &nghttp2.set_no_auto_window_update)[0] = library.find(b"nghttp2_option_set_no_auto_window_update")
    (<void**> &nghttp2.set_max_deflate_dynamic_table_size)[0] = library.find(
        b"nghttp2_option_set_max_deflate_dynamic_table_size")
    (<void**> &nghttp2.set_max_outbound_ack)[0] = library.find(b"nghttp2_option_set_max_outbound_ack")
    (<void**> &nghttp2.set_max_settings)[0] = library.find(b"nghttp2_option_set_max_settings")
    (<void**> &nghttp2.set_max_continuations)[0] = library.find(b"nghttp2_option_set_max_continuations")
    (<void**> &nghttp2.set_stream_reset_rate_limit)[0] = library.find(b"nghttp2_option_set_stream_reset_rate_limit")
    (<void**> &nghttp2.set_glitch_rate_limit)[0] = library.find(b"nghttp2_option_set_glitch_rate_limit")
    (<void**> &nghttp2.set_no_closed_streams)[0] = library.find(b"nghttp2_option_set_no_closed_streams")
    (<void**> &nghttp2.set_peer_max_concurrent_streams)[0] = library.find(
        b"nghttp2_option_set_peer_max_concurrent_streams")
    (<void**> &nghttp2.server_new2)[0] = library.find(b"nghttp2_session_server_new2")
    (<void**> &nghttp2.client_new2)[0] = library.find(b"nghttp2_session_client_new2")
    (<void**> &nghttp2.session_del)[0] = library.find(b"nghttp2_session_del")
    (<void**> &nghttp2.mem_recv)[0] = library.find(b"nghttp2_session_mem_recv")
    (<void**> &nghttp2.mem_send)[0] = library.find(b"nghttp2_session_mem_send")
    (<void**> &nghttp2.want_read)[0] = library.find(b"nghttp2_session_want_read")
    (<void**> &nghttp2.want_write)[0] = library.find(b"nghttp2_session_want_write")
    (<void**> &nghttp2.consume)[0] = library.find(b"nghttp2_session_consume")
    (<void**> &nghttp2.consume_stream)[0] = library.find(b"nghttp2_session_consume_stream")
    (<void**> &nghttp2.consume_connection)[0] = library.find(b"nghttp2_session_consume_connection")
    (<void**> &nghttp2.resume_data)[0] = library.find(b"nghttp2_session_resume_data")
    (<void**> &nghttp2.set_local_window_size)[0] = library.find(b"nghttp2_session_set_local_window_size")
    (<void**> &nghttp2.set_stream_user_data)[0] = library.find(b"nghttp2_session_set_stream_user_data")
    (<void**> &nghttp2.get_stream_user_data)[0] = library.find(b"nghttp2_session_get_stream_user_data")
    (<void**> &nghttp2.get_last_proc_stream_id)[0] = library.find(b"nghttp2_session_get_last_proc_stream_id")
    (<void**> &nghttp2.get_remote_settings)[0] = library.find(b"nghttp2_session_get_remote_settings")
    (<void**> &nghttp2.check_request_allowed)[0] = library.find(b"nghttp2_session_check_request_allowed")
    (<void**> &nghttp2.terminate_session)[0] = library.find(b"nghttp2_session_terminate_session")
    (<void**> &nghttp2.submit_settings)[0] = library.find(b"nghttp2_submit_settings")
    (<void**> &nghttp2.submit_response)[0] = library.find(b"nghttp2_submit_response")
    (<void**> &nghttp2.submit_request)[0] = library.find(b"nghttp2_submit_request")
    (<void**> &nghttp2.submit_headers)[0] = library.find(b"nghttp2_submit_headers")
    (<void**> &nghttp2.submit_trailer)[0] = library.find(b"nghttp2_submit_trailer")
    (<void**> &nghttp2.submit_rst_stream)[0] = library.find(b"nghttp2_submit_rst_stream")
    (<void**> &nghttp2.submit_shutdown_notice)[0] = library.find(b"nghttp2_submit_shutdown_notice")
    (<void**> &nghttp2.submit_goaway)[0] = library.find(b"nghttp2_submit_goaway")
    ready = True
    return 0
