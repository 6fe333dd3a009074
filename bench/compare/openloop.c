/* openloop: a constant-rate (open-loop) HTTP/1.1 load generator.
 *
 * What: sends GET requests at a fixed rate over a fixed set of keep-alive connections and prints one JSON
 * object with the latency percentiles. wrk is closed-loop: a slow answer delays its next request, so a stall
 * hides the requests that would have met it. Here every request has a due time on a fixed schedule.
 *
 * Strategy: one thread, epoll and one periodic timerfd; no busy waiting, since the origin may share the core.
 * Due times lie on a grid of TICK_NS: a timer per request would cost as much CPU as the origin itself, and real
 * arrivals come in small bunches too.
 * Requests that are due take the idle connection that has rested longest, so all connections stay in use; when
 * none is idle the request waits and its waiting counts. Latency = end of response - due time. Every sample is
 * kept and sorted at the end: exact percentiles, no buckets.
 *
 * Invariants: one request in flight per connection; any connection that fails ends the run with exit code 1
 * after the report (a broken run must not look like a fast one); the run ends `GRACE_NS` after the last due
 * time at the latest.
 *
 * Usage: openloop HOST PORT PATH RATE SECONDS CONNECTIONS
 */
#define _GNU_SOURCE
#define PROGRAM "openloop"
#include "load.h"
#include <sys/prctl.h>
#include <sys/timerfd.h>

#define RESPONSE_MAX 16384
#define GRACE_NS 2000000000LL
#define TICK_NS 250000LL
#define WARMUP_SHARE 10 /* the first 1/10 of the schedule is sent but not recorded */

struct connection {
    int fd;
    size_t filled;
    int64_t due;  /* when the request in flight should have been sent */
    int64_t sent; /* when it was sent */
    int64_t number;
    struct connection *next; /* in the queue of idle connections */
    char response[RESPONSE_MAX + 1];
};

static struct connection *connections, *idle_first, *idle_last;
static char request[1024];
static size_t request_length;
static int64_t start, interval, total, warmup;
static int64_t issued, answered, failed, wrong_status, broken, recorded;
static int64_t *latencies, *lags;

static void park(struct connection *c) {
    c->next = NULL;
    if (idle_last) idle_last->next = c; else idle_first = c;
    idle_last = c;
}

static void fail(struct connection *c) {
    close(c->fd);
    c->fd = -1;
    broken++;
    failed++;
}

/* When request `number` is due: its place in an even schedule, moved down to the grid. */
static int64_t due_time(int64_t number) {
    return start + number * interval / TICK_NS * TICK_NS;
}

static void issue(int64_t now) {
    struct connection *c = idle_first;
    idle_first = c->next;
    if (!idle_first) idle_last = NULL;
    c->number = issued;
    c->due = due_time(issued);
    c->sent = now;
    c->filled = 0;
    issued++;
    if (send(c->fd, request, request_length, MSG_NOSIGNAL) != (ssize_t)request_length) fail(c);
}

static void issue_due(void) {
    int64_t now = now_ns();
    while (issued < total && idle_first && due_time(issued) <= now) {
        issue(now);
        now = now_ns();
    }
}

/* Length of the whole response, 0 when its head is incomplete, -1 when it cannot be measured. */
static ssize_t response_length(const char *head) {
    const char *end = strstr(head, "\r\n\r\n");
    const char *line = head;
    if (!end) return 0;
    while ((line = strstr(line, "\r\n")) && line < end) {
        line += 2;
        if (!strncasecmp(line, "content-length:", 15)) {
            long length = strtol(line + 15, NULL, 10);
            ssize_t whole = (end + 4 - head) + length;
            return length >= 0 && whole <= RESPONSE_MAX ? whole : -1;
        }
    }
    return -1;
}

static void finish(struct connection *c) {
    int64_t now = now_ns();
    answered++;
    if (strncmp(c->response, "HTTP/1.1 200", 12)) wrong_status++;
    if (c->number >= warmup) {
        latencies[recorded] = now - c->due;
        lags[recorded] = c->sent - c->due;
        recorded++;
    }
    park(c);
}

static void readable(struct connection *c) {
    ssize_t got = recv(c->fd, c->response + c->filled, RESPONSE_MAX - c->filled, 0), whole;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) { fail(c); return; }
    c->filled += (size_t)got;
    c->response[c->filled] = 0;
    whole = response_length(c->response);
    if (whole < 0 || (whole && (size_t)whole < c->filled)) fail(c);
    else if (whole && (size_t)whole == c->filled) finish(c);
}

static void run(int epoll, int timer, int count) {
    struct epoll_event events[256];
    int64_t deadline = start + total * interval + GRACE_NS;
    while (answered + failed < total && broken < count && now_ns() < deadline) {
        int ready = epoll_wait(epoll, events, 256, 100);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            uint64_t ticks;
            if (c) { if (c->fd >= 0) readable(c); }
            else if (read(timer, &ticks, sizeof ticks) < 0 && errno != EAGAIN) die("timer");
        }
        issue_due();
    }
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double percentile(const int64_t *sorted, double share) {
    int64_t index = (int64_t)(share * (double)recorded);
    if (!recorded) return -1;
    return (double)sorted[index < recorded ? index : recorded - 1] / 1000.0;
}

static void report(double rate, double seconds, int count) {
    qsort(latencies, (size_t)recorded, sizeof *latencies, ascending);
    qsort(lags, (size_t)recorded, sizeof *lags, ascending);
    printf("{\"rate\": %.1f, \"seconds\": %.3f, \"connections\": %d, \"issued\": %lld, \"answered\": %lld, "
           "\"recorded\": %lld, \"failed\": %lld, \"wrong_status\": %lld, \"unanswered\": %lld, ",
           rate, seconds, count, (long long)issued, (long long)answered, (long long)recorded,
           (long long)failed, (long long)wrong_status, (long long)(total - answered - failed));
    printf("\"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, "
           "\"send_lag_p50_us\": %.1f, \"send_lag_p99_us\": %.1f}\n",
           percentile(latencies, 0.5), percentile(latencies, 0.9), percentile(latencies, 0.99),
           percentile(latencies, 0.999), percentile(latencies, 1.0), percentile(lags, 0.5),
           percentile(lags, 0.99));
}

static int arm(void) {
    struct itimerspec schedule = {.it_interval = {TICK_NS / 1000000000, TICK_NS % 1000000000},
                                  .it_value = {start / 1000000000, start % 1000000000}};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer < 0 || timerfd_settime(timer, TFD_TIMER_ABSTIME, &schedule, NULL)) die("timerfd");
    return timer;
}

static void prepare(double rate, double seconds, int count) {
    interval = (int64_t)(1e9 / rate);
    total = (int64_t)(rate * seconds);
    if (interval < 1 || total < 1 || count < 1) { errno = EINVAL; die("RATE, SECONDS or CONNECTIONS"); }
    warmup = total / WARMUP_SHARE;
    connections = calloc((size_t)count, sizeof *connections);
    latencies = calloc((size_t)total, sizeof *latencies);
    lags = calloc((size_t)total, sizeof *lags);
    if (!connections || !latencies || !lags) die("memory");
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: openloop HOST PORT PATH RATE SECONDS CONNECTIONS\n");
        return 2;
    }
    double rate = atof(argv[4]), seconds = atof(argv[5]);
    int count = atoi(argv[6]), epoll = epoll_create1(EPOLL_CLOEXEC), timer;
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); /* the default slack of 50 us would be most of the latency */
    prepare(rate, seconds, count);
    request_length = (size_t)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s:%s\r\n\r\n",
                                      argv[3], argv[1], argv[2]);
    if (request_length >= sizeof request) { errno = EINVAL; die("PATH"); }
    for (int i = 0; i < count; i++) {
        if ((connections[i].fd = connect_to(argv[1], atoi(argv[2]))) < 0) die("connect");
        unblock(connections[i].fd);
        watch(epoll, connections[i].fd, EPOLLIN, &connections[i]);
        park(&connections[i]);
    }
    start = now_ns() + 50000000; /* a little later than now, so that the first due times are met */
    timer = arm();
    watch(epoll, timer, EPOLLIN, NULL);
    run(epoll, timer, count);
    report(rate, seconds, count);
    return failed || wrong_status || answered < total;
}
