/*
 * What the C programs of this folder share: clocks, random places, and the line of JSON that the benchmark reads.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MAX_QUEUE_DEPTH 1024
#define FAIL(what, code) (fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(code)), exit(1))

static struct io_uring ring;
static uint64_t blocks, operations, failed, seed = 88172645463325252u;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

struct cpu {
	double user, system;
};

static struct cpu cpu_seconds(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (struct cpu){ u.ru_utime.tv_sec + u.ru_utime.tv_usec * 1e-6, u.ru_stime.tv_sec + u.ru_stime.tv_usec * 1e-6 };
}

static uint64_t random_block(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % blocks;
}

static void run_for(void (*turn)(void), double seconds)
{
	double end = now() + seconds;

	do
		turn();
	while (now() < end);
}

/* Runs turns, first without being measured, then measured. What is in flight at the end ends with the process. */
static int measure(void (*turn)(void), double warm_up, double seconds)
{
	run_for(turn, warm_up);
	uint64_t operations_before = operations;
	struct cpu cpu_before = cpu_seconds();
	double before = now();
	run_for(turn, seconds);
	double took = now() - before;
	struct cpu cpu = cpu_seconds();

	printf("{\"operations\":%" PRIu64 ",\"seconds\":%.6f,\"userSeconds\":%.6f,\"systemSeconds\":%.6f,\"failed\":%" PRIu64 "}\n",
	       operations - operations_before, took, cpu.user - cpu_before.user, cpu.system - cpu_before.system, failed);
	return 0;
}
