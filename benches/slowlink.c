// SPDX-License-Identifier: MIT OR Apache-2.0
/* slowlink: a network link of a given delay and rate between two network
 * namespaces, in user space (for kernels without tc's netem).
 *
 *   slowlink NS_A NS_B RTT_MS MBIT [QUEUE_BYTES]
 *
 * It makes a TUN device "slow0" in each of the two namespaces (by name,
 * under /run/netns), prints "ready" and then carries every packet from one
 * to the other until it is ended. Each direction has the rate MBIT (in
 * Mbit/s; 0: no limit), a drop-tail queue of QUEUE_BYTES (default: 100 ms
 * of the rate) before the rate limiter, and then half the RTT of delay.
 *
 * Build: cc -O2 -o slowlink slowlink.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PACKET = 2048, RING = 65536, TICK = 300000 /* ns */ };

struct packet {
	int64_t due;
	int len;
	unsigned char data[MAX_PACKET];
};

struct way {
	int in, out;
	int64_t free_at; /* when the rate limiter has sent all it holds */
	struct packet *ring;
	unsigned head, tail;
	uint64_t packets, dropped;
};

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int open_tun(const char *ns)
{
	char path[256];
	struct ifreq ifr;
	int fd;

	snprintf(path, sizeof path, "/run/netns/%s", ns);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) {
		perror(path);
		exit(1);
	}
	close(fd);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0) {
		perror("/dev/net/tun");
		exit(1);
	}
	memset(&ifr, 0, sizeof ifr);
	ifr.ifr_flags = IFF_TUN | IFF_NO_PI;
	strcpy(ifr.ifr_name, "slow0");
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		perror("TUNSETIFF");
		exit(1);
	}
	return fd;
}

static int64_t delay, queue_ns;
static double ns_per_byte;

static void take(struct way *w)
{
	for (int i = 0; i < 128; i++) {
		struct packet *p = &w->ring[w->head % RING];
		int64_t t = now();
		int n;

		if (w->head - w->tail == RING) { /* full: read it and lose it */
			unsigned char lost[MAX_PACKET];
			if (read(w->in, lost, sizeof lost) <= 0)
				return;
			w->dropped++;
			continue;
		}
		n = read(w->in, p->data, MAX_PACKET);
		if (n <= 0)
			return;
		if (w->free_at < t)
			w->free_at = t;
		if (ns_per_byte > 0 && w->free_at - t > queue_ns) {
			w->dropped++;
			continue;
		}
		w->free_at += (int64_t)(n * ns_per_byte);
		p->len = n;
		p->due = w->free_at + delay;
		w->head++;
		w->packets++;
	}
}

static void give(struct way *w)
{
	int64_t t = now();

	while (w->tail != w->head) {
		struct packet *p = &w->ring[w->tail % RING];
		if (p->due > t)
			return;
		if (write(w->out, p->data, p->len) < 0 && errno == EAGAIN)
			return;
		w->tail++;
	}
}

int main(int argc, char **argv)
{
	struct way ways[2];
	double rtt, mbit;
	int a, b;

	if (argc < 5) {
		fprintf(stderr, "usage: slowlink NS_A NS_B RTT_MS MBIT [QUEUE_BYTES]\n");
		return 2;
	}
	rtt = atof(argv[3]);
	mbit = atof(argv[4]);
	delay = (int64_t)(rtt / 2 * 1e6);
	ns_per_byte = mbit > 0 ? 8000 / mbit : 0;
	queue_ns = argc > 5 ? (int64_t)(atof(argv[5]) * ns_per_byte) : 100000000;
	prctl(PR_SET_TIMERSLACK, 20000UL);
	a = open_tun(argv[1]);
	b = open_tun(argv[2]);
	memset(ways, 0, sizeof ways);
	for (int i = 0; i < 2; i++) {
		ways[i].in = i ? b : a;
		ways[i].out = i ? a : b;
		ways[i].ring = malloc(sizeof(struct packet) * RING);
		if (!ways[i].ring)
			return 1;
	}
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		struct pollfd fds[2] = { { .fd = a, .events = POLLIN }, { .fd = b, .events = POLLIN } };
		struct timespec tick = { 0, TICK };

		/* With packets under way: a look every TICK, so that one wake
		 * serves several packets; else sleep until one comes. */
		if (ways[0].tail != ways[0].head || ways[1].tail != ways[1].head)
			nanosleep(&tick, NULL);
		else if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return 1;
		for (int i = 0; i < 2; i++) {
			take(&ways[i]);
			give(&ways[i]);
		}
	}
}
