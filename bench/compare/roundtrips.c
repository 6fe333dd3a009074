/* roundtrips: a closed-loop generator of WebSocket messages (RFC 6455) that an origin echoes.
 *
 * What: opens CONNECTIONS WebSockets, then each sends a binary message of MESSAGE bytes whenever the echo of
 * its last one has arrived. Prints one JSON object at the end.
 *
 * Strategy: one thread; the upgrades are done one after another on blocking sockets before the clock starts,
 * so that only messages are measured; then epoll, one recv and one send per round trip.
 *
 * Invariants: every message is different (connection and sequence number are in it) and masked with another
 * key, every echo is compared byte for byte; a connection that breaks or echoes something else is counted,
 * closed and not replaced; any of this makes the exit code 1. The run ends after SECONDS, whatever happens.
 *
 * Usage: roundtrips HOST PORT PATH SECONDS CONNECTIONS
 */
#define _GNU_SOURCE
#define PROGRAM "roundtrips"
#include "load.h"

#define MESSAGE 32 /* bytes; below 126, so that the length fits in the second byte of a frame */
#define FRAME_OUT (2 + 4 + MESSAGE)
#define FRAME_IN (2 + MESSAGE)
#define HEAD_MAX 4096
#define BINARY_FINAL 0x82
#define MASKED 0x80
/* The key and its answer from the example of RFC 6455 1.3. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

struct connection {
    int fd;
    uint32_t number;
    uint64_t sequence;
    int64_t sent;
    size_t filled;
    unsigned char expected[MESSAGE];
    unsigned char frame[FRAME_IN + 1]; /* one more, to notice what should not be there */
};

static int64_t answered, broken, wrong;

static void end_badly(struct connection *c, int64_t *kind) {
    (*kind)++;
    close(c->fd);
    c->fd = -1;
}

static void send_next(struct connection *c) {
    unsigned char frame[FRAME_OUT] = {BINARY_FINAL, MASKED | MESSAGE};
    uint32_t mask = (uint32_t)(++c->sequence * 2654435761u) ^ c->number;
    memset(c->expected, 'x', MESSAGE);
    memcpy(c->expected, &c->number, sizeof c->number);
    memcpy(c->expected + sizeof c->number, &c->sequence, sizeof c->sequence);
    memcpy(frame + 2, &mask, 4);
    for (int i = 0; i < MESSAGE; i++) frame[6 + i] = c->expected[i] ^ frame[2 + i % 4];
    c->filled = 0;
    c->sent = now_ns();
    if (send(c->fd, frame, sizeof frame, MSG_NOSIGNAL) != (ssize_t)sizeof frame) end_badly(c, &broken);
}

static void readable(struct connection *c) {
    ssize_t got = recv(c->fd, c->frame + c->filled, sizeof c->frame - c->filled, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) { end_badly(c, &broken); return; }
    c->filled += (size_t)got;
    if (c->filled < FRAME_IN) return;
    if (c->filled > FRAME_IN || c->frame[0] != BINARY_FINAL || c->frame[1] != MESSAGE
        || memcmp(c->frame + 2, c->expected, MESSAGE)) { end_badly(c, &wrong); return; }
    answered++;
    send_next(c);
}

/* Upgrade one connection; the answer must end with its head, since a server says nothing before it is asked. */
static void upgrade(int fd, const char *request, size_t length) {
    char head[HEAD_MAX + 1];
    size_t filled = 0;
    if (send(fd, request, length, MSG_NOSIGNAL) != (ssize_t)length) die("upgrade");
    do {
        ssize_t got = recv(fd, head + filled, HEAD_MAX - filled, 0);
        if (got == 0 || filled + (size_t)(got > 0 ? got : 0) == HEAD_MAX) errno = EPROTO;
        if (got <= 0 || filled + (size_t)got == HEAD_MAX) die("upgrade");
        filled += (size_t)got;
        head[filled] = 0;
    } while (!strstr(head, "\r\n\r\n"));
    if (strncmp(head, "HTTP/1.1 101", 12) || !strstr(head, ACCEPT)) {
        fprintf(stderr, PROGRAM ": upgrade: refused with %.*s\n", (int)strcspn(head, "\r"), head);
        exit(2);
    }
}

static struct connection *open_all(char **argv, int count, int epoll) {
    struct connection *connections = calloc((size_t)count, sizeof *connections);
    char request[1024];
    int length = snprintf(request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: %s:%s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n\r\n", argv[3], argv[1], argv[2]);
    if (!connections) die("memory");
    if (length < 0 || (size_t)length >= sizeof request) { errno = EINVAL; die("PATH"); }
    for (int i = 0; i < count; i++) {
        struct connection *c = &connections[i];
        c->number = (uint32_t)i + 1;
        if ((c->fd = connect_to(argv[1], atoi(argv[2]))) < 0) die("connect");
        upgrade(c->fd, request, (size_t)length);
        unblock(c->fd);
        watch(epoll, c->fd, EPOLLIN, c);
    }
    return connections;
}

static void run(int epoll, struct connection *connections, int count, int64_t deadline) {
    struct epoll_event events[256];
    for (int i = 0; i < count; i++) send_next(&connections[i]);
    while (broken + wrong < count && now_ns() < deadline) {
        int ready = epoll_wait(epoll, events, 256, 100);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->fd >= 0) readable(c);
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: roundtrips HOST PORT PATH SECONDS CONNECTIONS\n");
        return 2;
    }
    int count = atoi(argv[5]), epoll = epoll_create1(EPOLL_CLOEXEC);
    int64_t start, end, stalled = 0;
    if (count < 1) { errno = EINVAL; die("CONNECTIONS"); }
    struct connection *connections = open_all(argv, count, epoll);
    start = now_ns();
    run(epoll, connections, count, start + (int64_t)(atof(argv[4]) * 1e9));
    end = now_ns();
    for (int i = 0; i < count; i++) stalled += connections[i].fd >= 0 && end - connections[i].sent > STALL_NS;
    printf("{\"requests\": %lld, \"duration_us\": %lld, \"bytes\": %lld, \"broken\": %lld, \"wrong\": %lld, "
           "\"stalled\": %lld}\n", (long long)answered, (long long)(end - start) / 1000,
           (long long)answered * FRAME_IN, (long long)broken, (long long)wrong, (long long)stalled);
    return broken || wrong || stalled;
}
