/* handshakes: a closed-loop generator of full TLS 1.3 handshakes with one HTTP/1.1 request each.
 *
 * What: keeps CONNECTIONS connections busy; each does a full handshake, one GET with `Connection: close`, reads
 * until the server closes, and is replaced by a new one. Prints one JSON object at the end. wrk cannot do this:
 * it clears and reuses its SSL objects, and with them the session, so that nearly all its handshakes are
 * resumptions (nginx's $ssl_session_reused says so).
 *
 * Strategy: one thread, edge-triggered epoll, a new SSL object per connection out of one SSL_CTX without a
 * session cache. Tickets that the server sends are read and thrown away, as by a client that never returns.
 * The server closes first, so that no client port waits in TIME_WAIT.
 *
 * Invariants: only a whole answer (status 200, a body of SIZE bytes, then the end of the stream) counts as a
 * request; everything else counts as an error of its kind and makes the exit code 1; a resumed session or
 * another TLS version is an error; so is a connection that rests unfinished. `unclean` counts answers that were whole but ended without close_notify
 * (RFC 8446 6.1 asks for it); that is told, not judged. The run ends after SECONDS, whatever the server does.
 *
 * Usage: handshakes HOST PORT PATH SIZE SECONDS CONNECTIONS
 */
#define _GNU_SOURCE
#define PROGRAM "handshakes"
#include "load.h"
#include <openssl/err.h>
#include <openssl/ssl.h>

#define RESPONSE_MAX 16384

enum step { HANDSHAKE, SEND, RECEIVE };

struct connection {
    int fd;
    SSL *ssl;
    enum step step;
    int64_t opened;
    size_t filled;
    char response[RESPONSE_MAX + 1];
};

static SSL_CTX *context;
static const char *host;
static char request[1024];
static size_t request_length, body_size;
static int port, epoll;
static int64_t requests, bytes, connect_errors, handshake_errors, read_errors, wrong, resumed, unclean;

/* Replace a connection that has ended, well or not. */
static void reopen(struct connection *c) {
    SSL_free(c->ssl);
    c->ssl = NULL;
    if (c->fd >= 0) close(c->fd);
    c->fd = connect_to(host, port);
    if (c->fd < 0) { connect_errors++; return; }
    unblock(c->fd);
    c->ssl = SSL_new(context);
    if (!c->ssl || !SSL_set_fd(c->ssl, c->fd)) die("SSL_new");
    c->step = HANDSHAKE;
    c->filled = 0;
    c->opened = now_ns();
    /* The first event, writable, comes at once and starts the handshake. */
    watch(epoll, c->fd, EPOLLIN | EPOLLOUT | EPOLLET, c);
}

static void fail(struct connection *c, int64_t *kind) {
    (*kind)++;
    reopen(c);
}

static int whole(struct connection *c) {
    c->response[c->filled] = 0;
    const char *end = strstr(c->response, "\r\n\r\n");
    return end && !strncmp(c->response, "HTTP/1.1 200", 12)
        && c->filled - (size_t)(end + 4 - c->response) == body_size;
}

static void finish(struct connection *c, int reason) {
    if (!whole(c)) { fail(c, c->filled ? &wrong : &read_errors); return; }
    requests++;
    bytes += (int64_t)c->filled;
    unclean += reason != SSL_ERROR_ZERO_RETURN;
    reopen(c);
}

static int operate(struct connection *c) {
    ERR_clear_error();
    if (c->step == HANDSHAKE) return SSL_connect(c->ssl);
    if (c->step == SEND) return SSL_write(c->ssl, request, (int)request_length);
    return SSL_read(c->ssl, c->response + c->filled, (int)(RESPONSE_MAX - c->filled));
}

/* What follows on a step that succeeded; 0 when the connection is done for. */
static int follow(struct connection *c, int result) {
    if (c->step == HANDSHAKE) {
        if (SSL_session_reused(c->ssl)) { fail(c, &resumed); return 0; }
        if (SSL_version(c->ssl) != TLS1_3_VERSION) { fail(c, &handshake_errors); return 0; }
        c->step = SEND;
    } else if (c->step == SEND) {
        c->step = RECEIVE;
    } else {
        c->filled += (size_t)result;
        if (c->filled == RESPONSE_MAX) { fail(c, &wrong); return 0; }
    }
    return 1;
}

static void advance(struct connection *c) {
    for (;;) {
        int result = operate(c), reason;
        if (result > 0) {
            if (!follow(c, result)) return;
            continue;
        }
        reason = SSL_get_error(c->ssl, result);
        if (reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE) return;
        if (c->step == RECEIVE) finish(c, reason);
        else fail(c, c->step == HANDSHAKE ? &handshake_errors : &read_errors);
        return;
    }
}

static void run(struct connection *connections, int count, int64_t deadline) {
    struct epoll_event events[256];
    for (int i = 0; i < count; i++) {
        connections[i].fd = -1;
        reopen(&connections[i]);
    }
    while (connect_errors < count && now_ns() < deadline) {
        int ready = epoll_wait(epoll, events, 256, 100);
        /* A connection is reopened in its own event only, so no event here is of a closed one. */
        for (int i = 0; i < ready; i++) advance(events[i].data.ptr);
    }
}

static int64_t stalled(const struct connection *connections, int count, int64_t now) {
    int64_t found = 0;
    for (int i = 0; i < count; i++) found += connections[i].fd >= 0 && now - connections[i].opened > STALL_NS;
    return found;
}

static void prepare(void) {
    context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION)) die("SSL_CTX_new");
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL); /* the chain is checked before the run */
    SSL_CTX_set_read_ahead(context, 1); /* half the recv calls: the generator may share its core */
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: handshakes HOST PORT PATH SIZE SECONDS CONNECTIONS\n");
        return 2;
    }
    int count = atoi(argv[6]);
    struct connection *connections = calloc(count > 0 ? (size_t)count : 1, sizeof *connections);
    host = argv[1];
    port = atoi(argv[2]);
    body_size = (size_t)atol(argv[4]);
    request_length = (size_t)snprintf(request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: %s:%d\r\nConnection: close\r\n\r\n", argv[3], host, port);
    if (count < 1 || request_length >= sizeof request) { errno = EINVAL; die("PATH or CONNECTIONS"); }
    if (!connections || (epoll = epoll_create1(EPOLL_CLOEXEC)) < 0) die("epoll or memory");
    prepare();
    int64_t start = now_ns(), end;
    run(connections, count, start + (int64_t)(atof(argv[5]) * 1e9));
    end = now_ns();
    int64_t stuck = stalled(connections, count, end);
    printf("{\"requests\": %lld, \"duration_us\": %lld, \"bytes\": %lld, \"connect\": %lld, \"handshake\": %lld, "
           "\"read\": %lld, \"wrong\": %lld, \"resumed\": %lld, \"stalled\": %lld, \"unclean\": %lld}\n",
           (long long)requests, (long long)(end - start) / 1000, (long long)bytes, (long long)connect_errors,
           (long long)handshake_errors, (long long)read_errors, (long long)wrong, (long long)resumed,
           (long long)stuck, (long long)unclean);
    return connect_errors || handshake_errors || read_errors || wrong || resumed || stuck;
}
