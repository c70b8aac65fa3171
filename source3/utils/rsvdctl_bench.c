/*
 * rsvdctl: how fast a disk is
 *
 * One handle, a number of requests under way, for a number of seconds. That is
 * what one initiator gets; several at once are several runs of this.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/utils/rsvdctl.h"
#include "lib/util/tevent_ntstatus.h"

#define BENCH_MAX_QUEUE_DEPTH 1024

static struct {
	const char *pattern;
	const char *block_size;
	const char *range;
	int queue_depth;
	int seconds;
	int overwrite;
} bench_opts = {
	.pattern = "randread",
	.block_size = "4K",
	.queue_depth = 8,
	.seconds = 5,
};

static struct poptOption bench_options[] = {
	{
		.longName = "pattern",
		.argInfo = POPT_ARG_STRING,
		.arg = &bench_opts.pattern,
		.descrip = "randread (the default), randwrite, randrw (70% "
			   "reads), read or write (both in sequence)",
		.argDescrip = "PATTERN",
	},
	{
		.longName = "block-size",
		.shortName = 'b',
		.argInfo = POPT_ARG_STRING,
		.arg = &bench_opts.block_size,
		.descrip = "Bytes of one request; default 4K",
		.argDescrip = "SIZE",
	},
	{
		.longName = "queue-depth",
		.shortName = 'q',
		.argInfo = POPT_ARG_INT,
		.arg = &bench_opts.queue_depth,
		.descrip = "Requests under way at a time; default 8",
		.argDescrip = "N",
	},
	{
		.longName = "seconds",
		.shortName = 't',
		.argInfo = POPT_ARG_INT,
		.arg = &bench_opts.seconds,
		.descrip = "How long; default 5",
		.argDescrip = "N",
	},
	{
		.longName = "range",
		.argInfo = POPT_ARG_STRING,
		.arg = &bench_opts.range,
		.descrip = "Stay within so much from the start of the disk; "
			   "default all of it",
		.argDescrip = "SIZE",
	},
	{
		.longName = "overwrite",
		.argInfo = POPT_ARG_NONE,
		.arg = &bench_opts.overwrite,
		.descrip = "The patterns that write destroy what is on the "
			   "disk, and want this",
	},
	RSVDCTL_OPTION_JSON,
	POPT_TABLEEND
};

static const struct bench_pattern {
	const char *name;
	unsigned int read_percent;
	bool random;
} bench_patterns[] = {
	{ "randread", 100, true },
	{ "randwrite", 0, true },
	{ "randrw", 70, true },
	{ "read", 100, false },
	{ "write", 0, false },
};

/*
 * Latencies are counted, not kept: sixteen buckets for each power of two of
 * microseconds, so that a percentile is right to about 6%.
 */
#define BENCH_BUCKETS (64 * 16)

struct bench;

struct bench_slot {
	struct bench *bench;
	uint8_t *buf;
	uint64_t started_usec;
	bool is_read;
};

struct bench {
	struct rsvdctl *ctl;
	struct rsvdctl_attach *attach;
	const struct bench_pattern *pattern;
	size_t block_size;
	uint64_t num_blocks;
	uint64_t next_block;
	uint64_t random_state;
	uint64_t started_usec;
	uint64_t stop_usec;
	unsigned int num_running;
	NTSTATUS status;
	uint64_t ended_usec;

	uint64_t num_reads;
	uint64_t num_writes;
	uint64_t sum_usec;
	uint64_t max_usec;
	uint32_t buckets[BENCH_BUCKETS];
};

static uint64_t bench_now_usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static size_t bench_bucket(uint64_t usec)
{
	unsigned int shift = 0;

	while ((usec >> shift) >= 32) {
		shift += 1;
	}
	return shift * 16 + (usec >> shift);
}

static uint64_t bench_bucket_usec(size_t bucket)
{
	unsigned int shift = 0;

	if (bucket < 32) {
		return bucket;
	}
	shift = bucket / 16 - 1;
	return (uint64_t)(bucket - shift * 16) << shift;
}

static uint64_t bench_percentile(const struct bench *bench, double percent)
{
	uint64_t wanted = (bench->num_reads + bench->num_writes) *
			  percent / 100;
	uint64_t seen = 0;
	size_t i;

	for (i = 0; i < BENCH_BUCKETS; i++) {
		seen += bench->buckets[i];
		if (seen > wanted) {
			return bench_bucket_usec(i);
		}
	}
	return bench->max_usec;
}

/* xorshift64*: the same sequence in each run, and costs nothing. */
static uint64_t bench_random(struct bench *bench)
{
	uint64_t x = bench->random_state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	bench->random_state = x;
	return x * 0x2545F4914F6CDD1DULL;
}

static void bench_done(struct tevent_req *req);

static bool bench_start(struct bench_slot *slot)
{
	struct bench *bench = slot->bench;
	struct librsvd_disk *disk = bench->attach->disk;
	struct tevent_req *req = NULL;
	uint64_t offset;

	if (bench->pattern->random) {
		offset = bench_random(bench) % bench->num_blocks;
	} else {
		offset = bench->next_block++ % bench->num_blocks;
	}
	offset *= bench->block_size;
	slot->is_read = bench_random(bench) % 100 <
			bench->pattern->read_percent;
	slot->started_usec = bench_now_usec();

	if (slot->is_read) {
		req = librsvd_read_send(bench, disk, slot->buf,
					bench->block_size, offset);
	} else {
		req = librsvd_write_send(bench, disk, slot->buf,
					 bench->block_size, offset, 0);
	}
	if (req == NULL) {
		return false;
	}
	tevent_req_set_callback(req, bench_done, slot);
	bench->num_running += 1;
	return true;
}

static void bench_progress(const struct bench *bench, uint64_t now)
{
	uint64_t done = (bench->num_reads + bench->num_writes) *
			bench->block_size;
	double total_usec = bench->stop_usec - bench->started_usec;

	if (bench->ctl->progress != NULL && now > bench->started_usec) {
		rsvdctl_progress_guess(bench->ctl, done, done * total_usec /
				       (now - bench->started_usec));
	}
}

static void bench_done(struct tevent_req *req)
{
	struct bench_slot *slot = tevent_req_callback_data(
		req, struct bench_slot);
	struct bench *bench = slot->bench;
	size_t nread = 0;
	uint64_t now, usec;
	NTSTATUS status;

	if (slot->is_read) {
		status = librsvd_read_recv(req, &nread);
	} else {
		status = librsvd_write_recv(req);
	}
	TALLOC_FREE(req);
	bench->num_running -= 1;

	now = bench_now_usec();
	usec = now - slot->started_usec;
	bench->ended_usec = now;

	if (!NT_STATUS_IS_OK(status)) {
		if (NT_STATUS_IS_OK(bench->status)) {
			bench->status = status;
		}
		return;
	}
	if (slot->is_read) {
		bench->num_reads += 1;
	} else {
		bench->num_writes += 1;
	}
	bench->sum_usec += usec;
	bench->max_usec = MAX(bench->max_usec, usec);
	bench->buckets[bench_bucket(usec)] += 1;
	bench_progress(bench, now);

	if (now >= bench->stop_usec || !NT_STATUS_IS_OK(bench->status)) {
		return;
	}
	if (!bench_start(slot)) {
		bench->status = NT_STATUS_NO_MEMORY;
	}
}

static int bench_report(struct rsvdctl *ctl, const struct bench *bench)
{
	uint64_t num = bench->num_reads + bench->num_writes;
	double seconds = (bench->ended_usec - bench->started_usec) / 1e6;
	double iops, bytes;

	if (num == 0 || seconds <= 0) {
		return rsvdctl_error(ctl, "nothing was done in that time");
	}
	iops = num / seconds;
	bytes = iops * bench->block_size;

	if (ctl->json) {
		return rsvdctl_print_json(ctl, json_pack(
			"{s:s, s:s, s:I, s:i, s:f, s:I, s:I, s:f, s:f,"
			" s:{s:f, s:I, s:I, s:I, s:I}}",
			"disk", rsvdctl_utf8(ctl->mem_ctx, bench->attach->unc),
			"pattern", bench->pattern->name,
			"block-size", (json_int_t)bench->block_size,
			"queue-depth", bench_opts.queue_depth,
			"seconds", seconds,
			"reads", (json_int_t)bench->num_reads,
			"writes", (json_int_t)bench->num_writes,
			"iops", iops,
			"bytes-per-second", bytes,
			"latency-usec",
			"mean", (double)bench->sum_usec / num,
			"p50", (json_int_t)bench_percentile(bench, 50),
			"p99", (json_int_t)bench_percentile(bench, 99),
			"p99.9", (json_int_t)bench_percentile(bench, 99.9),
			"max", (json_int_t)bench->max_usec));
	}

	printf("%s, %s, queue depth %d, %.1f s\n", bench->pattern->name,
	       rsvdctl_size_string(ctl->mem_ctx, bench->block_size),
	       bench_opts.queue_depth, seconds);
	printf("requests:   %.0f per second (%"PRIu64" reads, "
	       "%"PRIu64" writes)\n", iops, bench->num_reads,
	       bench->num_writes);
	printf("throughput: %s per second\n",
	       rsvdctl_size_string(ctl->mem_ctx, (uint64_t)bytes));
	printf("latency:    %.0f us mean, %"PRIu64" median, %"PRIu64" p99, "
	       "%"PRIu64" max\n", (double)bench->sum_usec / num,
	       bench_percentile(bench, 50), bench_percentile(bench, 99),
	       bench->max_usec);
	return RSVDCTL_OK;
}

static struct bench_slot *bench_slot_init(TALLOC_CTX *mem_ctx,
					  struct bench *bench)
{
	struct bench_slot *slot = talloc_zero(mem_ctx, struct bench_slot);

	if (slot == NULL) {
		return NULL;
	}
	slot->bench = bench;
	slot->buf = talloc_array(slot, uint8_t, bench->block_size);
	if (slot->buf == NULL) {
		TALLOC_FREE(slot);
		return NULL;
	}
	/* No zeros: a server may make a hole of those. */
	memset(slot->buf, 0x5A, bench->block_size);
	return slot;
}

static int bench_run_all(struct rsvdctl *ctl, struct bench *bench)
{
	struct bench_slot **slots = NULL;
	uint64_t total_usec = bench_opts.seconds * 1000000ULL;
	int i;

	slots = talloc_array(bench, struct bench_slot *,
			     bench_opts.queue_depth);
	if (slots == NULL) {
		return rsvdctl_error(ctl, "out of memory");
	}
	for (i = 0; i < bench_opts.queue_depth; i++) {
		slots[i] = bench_slot_init(slots, bench);
		if (slots[i] == NULL) {
			return rsvdctl_error(ctl, "out of memory");
		}
	}

	rsvdctl_progress_start(ctl, "bench", bench->block_size);
	bench->started_usec = bench_now_usec();
	bench->stop_usec = bench->started_usec + total_usec;
	for (i = 0; i < bench_opts.queue_depth; i++) {
		if (!bench_start(slots[i])) {
			return rsvdctl_error(ctl, "out of memory");
		}
	}
	while (bench->num_running > 0) {
		if (tevent_loop_once(bench->attach->ev) != 0) {
			return rsvdctl_error(ctl, "event loop: %s",
					     strerror(errno));
		}
	}
	rsvdctl_progress_end(ctl);
	if (!NT_STATUS_IS_OK(bench->status)) {
		return rsvdctl_remote_error(ctl, bench->attach->disk,
					    bench->status, "use",
					    bench->attach->unc);
	}
	return bench_report(ctl, bench);
}

static int rsvdctl_bench_run(struct rsvdctl *ctl)
{
	const char *target = poptGetArg(ctl->pc);
	struct bench *bench = NULL;
	struct librsvd_initial_info info;
	uint64_t block_size = 0, range = UINT64_MAX;
	NTSTATUS status;
	size_t i;
	int ret;

	if (target == NULL || poptPeekArg(ctl->pc) != NULL ||
	    !rsvdctl_is_remote(target)) {
		return rsvdctl_usage(ctl, "name one //server/share/path");
	}
	bench = talloc_zero(ctl->mem_ctx, struct bench);
	if (bench == NULL) {
		return rsvdctl_error(ctl, "out of memory");
	}
	bench->ctl = ctl;
	bench->status = NT_STATUS_OK;
	bench->random_state = 0x9E3779B97F4A7C15ULL;

	for (i = 0; i < ARRAY_SIZE(bench_patterns); i++) {
		if (strcmp(bench_opts.pattern, bench_patterns[i].name) == 0) {
			bench->pattern = &bench_patterns[i];
		}
	}
	if (bench->pattern == NULL) {
		return rsvdctl_usage(ctl, "no such --pattern: %s",
				     bench_opts.pattern);
	}
	if (bench->pattern->read_percent < 100 && !bench_opts.overwrite) {
		return rsvdctl_usage(ctl, "%s destroys what is on the disk; "
				     "--overwrite says that this may be",
				     bench->pattern->name);
	}
	if (!rsvdctl_size(ctl, "--block-size", bench_opts.block_size,
			  &block_size) ||
	    !rsvdctl_size(ctl, "--range", bench_opts.range, &range)) {
		return RSVDCTL_FAILED;
	}
	if (bench_opts.queue_depth < 1 ||
	    bench_opts.queue_depth > BENCH_MAX_QUEUE_DEPTH) {
		return rsvdctl_usage(ctl, "--queue-depth goes from 1 to %d",
				     BENCH_MAX_QUEUE_DEPTH);
	}
	if (bench_opts.seconds < 1) {
		return rsvdctl_usage(ctl, "--seconds is at least 1");
	}

	bench->attach = rsvdctl_remote_attach(
		ctl, target, bench->pattern->read_percent < 100);
	if (bench->attach == NULL) {
		return RSVDCTL_FAILED;
	}
	status = librsvd_initial_info(bench->attach->disk, &info);
	if (!NT_STATUS_IS_OK(status)) {
		return rsvdctl_nterror(ctl, status,
				       "cannot tell the size of %s", target);
	}
	if (block_size == 0 ||
	    block_size % info.sector_size != 0 || block_size > 64 << 20) {
		return rsvdctl_usage(ctl, "--block-size is a multiple of the "
				     "sector size, %"PRIu32" bytes, up to 64M",
				     info.sector_size);
	}
	bench->block_size = block_size;
	bench->num_blocks = MIN(range, info.virtual_size) / block_size;
	if (bench->num_blocks == 0) {
		return rsvdctl_usage(ctl, "there is no room for a block");
	}

	ret = bench_run_all(ctl, bench);
	if (ret == RSVDCTL_OK) {
		librsvd_close(bench->attach->disk);
	}
	return ret;
}

struct rsvdctl_command rsvdctl_bench = {
	.name = "bench",
	.args = "TARGET",
	.summary = "measure how fast a disk on a server is",
	.options = bench_options,
	.remote = true,
	.run = rsvdctl_bench_run,
};
