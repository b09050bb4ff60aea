/*
 * Mirrored writes in C with liburing: a request writes one 4 KiB buffer to the same random place of each device,
 * counts its regions down, and ends with one error bit for each region that failed. The peer of the library's
 * write of several regions, with what a good C program uses: fixed buffers, registered files, one system call
 * for a whole batch of requests and completions, and task work that runs only when it is asked for.
 *
 *   mirror QUEUE_DEPTH BYTES WARM_UP SECONDS DEVICE...
 *
 * prints one line of JSON.
 */
#include "peer.h"
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define MAX_REGIONS 64
#define REAP_BATCH 256

struct request {
	unsigned outstanding; /* regions whose completion is still to come */
	unsigned buffer;
	uint64_t error_bits;
	void (*done)(struct request *);
};

static struct request requests[MAX_QUEUE_DEPTH];
static struct iovec buffers[MAX_QUEUE_DEPTH];
static unsigned regions, bytes;

static void start(struct request *r)
{
	uint64_t offset = random_block() * bytes;

	r->outstanding = regions;
	r->error_bits = 0;
	for (unsigned i = 0; i < regions; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

		if (!sqe)
			FAIL("the submission queue is full", ENOSPC);
		io_uring_prep_write_fixed(sqe, i, buffers[r->buffer].iov_base, bytes, offset, r->buffer);
		sqe->flags |= IOSQE_FIXED_FILE;
		/* The request's index and the region's: enough to find both again. */
		io_uring_sqe_set_data64(sqe, (uint64_t)r->buffer * MAX_REGIONS + i);
	}
}

static void completed(struct request *r)
{
	operations++;
	if (r->error_bits)
		failed++;
	start(r);
}

/* Sleeps until as much has ended as makes a request, then takes all that has. */
static void turn(void)
{
	struct io_uring_cqe *cqes[REAP_BATCH];
	unsigned n;
	int rc = io_uring_submit_and_wait(&ring, regions);

	if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
		FAIL("io_uring_submit_and_wait", -rc);
	while ((n = io_uring_peek_batch_cqe(&ring, cqes, REAP_BATCH)) > 0) {
		for (unsigned i = 0; i < n; i++) {
			uint64_t data = cqes[i]->user_data;
			struct request *r = &requests[data / MAX_REGIONS];

			if (cqes[i]->res != (int)bytes)
				r->error_bits |= 1ull << (data % MAX_REGIONS);
			if (--r->outstanding == 0)
				r->done(r);
		}
		io_uring_cq_advance(&ring, n);
	}
}

static void open_devices(char **paths)
{
	int fds[MAX_REGIONS];

	blocks = UINT64_MAX;
	for (unsigned i = 0; i < regions; i++) {
		struct stat st;
		uint64_t size;

		fds[i] = open(paths[i], O_RDWR | O_DIRECT | O_CLOEXEC);
		if (fds[i] < 0 || fstat(fds[i], &st) < 0)
			FAIL(paths[i], errno);
		size = st.st_size;
		if (S_ISBLK(st.st_mode) && ioctl(fds[i], BLKGETSIZE64, &size) < 0)
			FAIL(paths[i], errno);
		if (size / bytes < blocks)
			blocks = size / bytes;
	}
	if (blocks == 0)
		FAIL("a device is smaller than a block", EINVAL);
	int rc = io_uring_register_files(&ring, fds, regions);
	if (rc < 0)
		FAIL("io_uring_register_files", -rc);
}

static void make_buffers(unsigned depth)
{
	for (unsigned i = 0; i < depth; i++) {
		if (posix_memalign(&buffers[i].iov_base, 4096, bytes))
			FAIL("posix_memalign", ENOMEM);
		memset(buffers[i].iov_base, (int)i, bytes);
		buffers[i].iov_len = bytes;
	}
	int rc = io_uring_register_buffers(&ring, buffers, depth);
	if (rc < 0)
		FAIL("io_uring_register_buffers", -rc);
}

int main(int argc, char **argv)
{
	unsigned depth = argc > 5 ? (unsigned)atoi(argv[1]) : 0, entries = 1;
	struct io_uring_params params = { .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN };
	int rc;

	bytes = argc > 5 ? (unsigned)atoi(argv[2]) : 0;
	regions = argc > 5 ? (unsigned)argc - 5 : 0;
	if (!depth || depth > MAX_QUEUE_DEPTH || !bytes || !regions || regions > MAX_REGIONS) {
		fprintf(stderr, "usage: mirror QUEUE_DEPTH BYTES WARM_UP SECONDS DEVICE...\n");
		return 2;
	}
	while (entries < depth * regions)
		entries *= 2;
	rc = io_uring_queue_init_params(entries, &ring, &params);
	if (rc < 0)
		FAIL("io_uring_queue_init_params", -rc);
	open_devices(argv + 5);
	make_buffers(depth);
	for (unsigned i = 0; i < depth; i++) {
		requests[i].buffer = i;
		requests[i].done = completed;
		start(&requests[i]);
	}

	return measure(turn, atof(argv[3]), atof(argv[4]));
}
