/*
 * Random 4 KiB reads in C with liburing that waits by looking again and again: what this machine's kernel and
 * devices give to a program that does nothing else. Fixed buffers, a registered file, one system call for a
 * batch, and task work that runs only when the ring's flag says that there is some.
 *
 *   read PATH DIRECT QUEUE_DEPTH WARM_UP SECONDS
 *
 * prints one line of JSON.
 */
#include "peer.h"

#define BYTES 4096

static char *memory;

static void start(uint64_t buffer)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	if (!sqe)
		FAIL("the submission queue is full", ENOSPC);
	io_uring_prep_read_fixed(sqe, 0, memory + buffer * BYTES, BYTES, random_block() * BYTES, 0);
	sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data64(sqe, buffer);
}

/* Looks until something has ended, then takes all that has. */
static void turn(void)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	int rc = io_uring_submit_and_get_events(&ring);

	if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
		FAIL("io_uring_submit_and_get_events", -rc);
	while (!io_uring_cq_ready(&ring))
		if (IO_URING_READ_ONCE(*ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))
			io_uring_get_events(&ring);
	io_uring_for_each_cqe(&ring, head, cqe) {
		if (cqe->res != BYTES)
			failed++;
		start(cqe->user_data);
		n++;
	}
	io_uring_cq_advance(&ring, n);
	operations += n;
}

int main(int argc, char **argv)
{
	unsigned depth = argc == 6 ? (unsigned)atoi(argv[3]) : 0;
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
	};

	if (!depth || depth > MAX_QUEUE_DEPTH) {
		fprintf(stderr, "usage: read PATH DIRECT QUEUE_DEPTH WARM_UP SECONDS\n");
		return 2;
	}
	int fd = open(argv[1], O_RDONLY | O_CLOEXEC | (atoi(argv[2]) ? O_DIRECT : 0));
	if (fd < 0)
		FAIL(argv[1], errno);
	blocks = (uint64_t)lseek(fd, 0, SEEK_END) / BYTES;
	if (blocks == 0)
		FAIL("the file is smaller than a block", EINVAL);
	int rc = io_uring_queue_init_params(depth, &ring, &params);
	if (rc < 0)
		FAIL("io_uring_queue_init_params", -rc);
	rc = io_uring_register_files(&ring, &fd, 1);
	if (rc < 0)
		FAIL("io_uring_register_files", -rc);
	if (posix_memalign((void **)&memory, BYTES, (size_t)depth * BYTES))
		FAIL("posix_memalign", ENOMEM);
	struct iovec all = { memory, (size_t)depth * BYTES };
	rc = io_uring_register_buffers(&ring, &all, 1);
	if (rc < 0)
		FAIL("io_uring_register_buffers", -rc);
	for (unsigned i = 0; i < depth; i++)
		start(i);

	return measure(turn, atof(argv[4]), atof(argv[5]));
}
