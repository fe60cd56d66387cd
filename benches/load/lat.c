/* Open-loop HTTP/1.1 latency probe: lat HOST PORT PATH CONNECTIONS RATE SECONDS
 *
 * Requests are due at even distances, whether or not earlier ones have been answered, and latency counts from the
 * moment a request was due: a proxy that stalls pays for every request that had to wait (no coordinated omission).
 * Prints one JSON object; times are in microseconds. Exits with 1 when a connection cannot be made or is closed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define TIMER UINT32_MAX

struct connection {
    int socket;
    int64_t due;    /* when the request in flight should have been sent */
    long missing;   /* body bytes still to come; -1 while the head is incomplete */
    int head_length;
    char head[4096];
};

static char request[512];
static int request_length;
static char buffer[131072];
static long bad;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static int open_connection(struct connection *c, const struct sockaddr_in *address) {
    int one = 1;
    c->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->socket, (const struct sockaddr *)address, sizeof *address)) return -1;
    setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fcntl(c->socket, F_SETFL, O_NONBLOCK);
}

/* Takes in what has arrived; 1 when the response is complete. */
static int receive(struct connection *c, ssize_t length) {
    if (c->missing >= 0) {
        c->missing -= length;
        return c->missing <= 0;
    }
    long room = (long)sizeof c->head - 1 - c->head_length, taken = length < room ? length : room;
    memcpy(c->head + c->head_length, buffer, taken);
    c->head[c->head_length + taken] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) {
        c->head_length += taken;
        return 0;
    }
    if (strncmp(c->head, "HTTP/1.1 200", 12)) bad++;
    char *field = strcasestr(c->head, "content-length:");
    long used = (long)(end + 4 - c->head) - c->head_length;
    c->missing = (field ? atol(field + 15) : 0) - (length - used);
    return c->missing <= 0;
}

static void send_request(struct connection *c, int64_t due) {
    c->due = due;
    c->missing = -1;
    c->head_length = 0;
    if (write(c->socket, request, request_length) != request_length) bad++;
}

int main(int argc, char **argv) {
    if (argc < 7) {
        fprintf(stderr, "usage: lat HOST PORT PATH CONNECTIONS RATE SECONDS\n");
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1);
    int count = atoi(argv[4]), seconds = atoi(argv[6]), idle_count = 0;
    double gap = SECOND / atof(argv[5]);
    long total = (long)(atof(argv[5]) * seconds), sent = 0, done = 0;
    request_length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s:%s\r\nUser-Agent: lat\r\n\r\n",
                              argv[3], argv[1], argv[2]);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    inet_pton(AF_INET, argv[1], &address.sin_addr);
    int poll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct connection *connections = calloc(count, sizeof *connections);
    int *idle = malloc(count * sizeof *idle);
    uint32_t *latency = malloc(sizeof *latency * (total + 1));
    for (int i = 0; i < count; i++) {
        if (open_connection(&connections[i], &address)) {
            perror("connect");
            return 1;
        }
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(poll, EPOLL_CTL_ADD, connections[i].socket, &event);
        idle[idle_count++] = i;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = TIMER};
    epoll_ctl(poll, EPOLL_CTL_ADD, timer, &event);

    int64_t start = now() + SECOND / 100, end = start + (seconds + 3) * SECOND;
    while (done < total && now() < end) {
        int64_t due = start + (int64_t)(sent * gap);
        while (sent < total && idle_count > 0 && due <= now()) {
            send_request(&connections[idle[--idle_count]], due);
            due = start + (int64_t)(++sent * gap);
        }
        if (sent < total && idle_count > 0) {
            struct itimerspec at = {{0, 0}, {due / SECOND, due % SECOND}};
            timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, 0);
        }
        struct epoll_event events[64];
        int ready = epoll_wait(poll, events, 64, 1000);
        for (int i = 0; i < ready; i++) {
            uint32_t index = events[i].data.u32;
            if (index == TIMER) {
                uint64_t expirations;
                if (read(timer, &expirations, sizeof expirations) < 0) continue;
                continue;
            }
            struct connection *c = &connections[index];
            ssize_t length = read(c->socket, buffer, sizeof buffer);
            if (length < 0 && errno == EAGAIN) continue;
            if (length <= 0) {
                fprintf(stderr, "the peer closed a connection\n");
                return 1;
            }
            if (receive(c, length)) {
                latency[done++] = (uint32_t)((now() - c->due) / 1000);
                idle[idle_count++] = index;
            }
        }
    }
    if (!done) return 1;
    qsort(latency, done, sizeof *latency, compare);
    printf("{\"n\": %ld, \"bad\": %ld, \"unanswered\": %ld, \"p50\": %u, \"p90\": %u, \"p99\": %u, \"max\": %u}\n", done, bad,
           total - done, latency[done / 2], latency[done * 9 / 10], latency[done * 99 / 100], latency[done - 1]);
    return 0;
}
