/*
 * vfs_rsvd: what a power cut leaves of an image
 *
 * Several processes work on an image, and can be killed; every change they
 * make to the file is recorded. For every moment of that, files are built
 * that a power cut at that moment could leave (crash_disk.c says which), and
 * each of them must pass vhdx_check(), open, and have all that was
 * acknowledged before the last flush. Some of the images so opened are worked
 * on and cut again, the first thing being the replay of the log. The power is
 * also cut while an image is made; and a child that they have worked on is
 * merged into its parent, or flattened, with the power cut during that, and what
 * comes of it gets the next child.
 *
 * A seed decides all of it. What failed is told as a command that does just
 * that again.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * time-limit: 300
 */

#include "replace.h"
#include <getopt.h>
#include <sys/mman.h>
#include "system/wait.h"
#include "lib/util/debug.h"
#include "tests/crash/crash_life.h"
#include "tests/crash/crash_merge.h"
#include "tests/crash/crash_parent.h"

#define MIB ((uint64_t)1 << 20)

static const struct crash_plan plans[] = {
	{
		.name = "a dynamic disk with one writer",
		.params = { .virtual_size = 256 * MIB, .block_size = MIB },
		.num_blocks = 200, .num_writers = 1,
		.steps = 600, .cuts = 300,
		.write = 30, .write_wait = 10, .zero = 5, .read = 10,
		.flush = 4, .flush_wait = 2, .reopen = 1, .fresh = 30,
	},
	{
		.name = "a dynamic disk with three writers",
		.params = { .virtual_size = 700 * MIB, .block_size = MIB },
		.first_block = 450, .num_blocks = 150, .num_writers = 3,
		.steps = 1000, .cuts = 400,
		.write = 30, .write_wait = 10, .zero = 5, .read = 10,
		.flush = 3, .flush_wait = 2, .reopen = 2, .fresh = 30,
	},
	{
		.name = "four writers that are killed",
		.params = { .virtual_size = 400 * MIB, .block_size = MIB },
		.num_blocks = 400, .num_writers = 4,
		.steps = 1200, .cuts = 400,
		.write = 30, .write_wait = 10, .zero = 5, .read = 10,
		.flush = 3, .flush_wait = 2, .reopen = 3, .kill = 4,
		.fresh = 40,
	},
	{
		.name = "a writer that is killed and comes back",
		.params = { .virtual_size = 128 * MIB, .block_size = 2 * MIB },
		.num_blocks = 64, .num_writers = 1,
		.steps = 800, .cuts = 300,
		.write = 30, .write_wait = 10, .zero = 5, .read = 5,
		.flush = 3, .flush_wait = 2, .reopen = 3, .kill = 5,
		.fresh = 40,
	},
	{
		.name = "a log that wraps around",
		.params = { .virtual_size = 1024 * MIB, .block_size = MIB },
		.num_blocks = 1000, .num_writers = 2,
		.steps = 3000, .cuts = 400,
		.write = 20, .write_wait = 40, .zero = 1, .read = 1,
		.flush = 1, .flush_wait = 1, .kill = 0, .fresh = 95,
		/* One log entry is not to serve many blocks. */
		.stride = 7,
	},
	{
		.name = "a log that wraps around while writers are killed",
		.params = { .virtual_size = 1024 * MIB, .block_size = MIB },
		.num_blocks = 1000, .num_writers = 3,
		.steps = 2500, .cuts = 400,
		.write = 20, .write_wait = 40, .zero = 1, .read = 1,
		.flush = 1, .flush_wait = 1, .kill = 1, .fresh = 95,
		/* One log entry is not to serve many blocks. */
		.stride = 7,
	},
	{
		.name = "large blocks of 4 KiB sectors",
		.params = { .virtual_size = 4096 * MIB + 40960,
			    .block_size = 32 * MIB,
			    .logical_sector_size = 4096 },
		.num_blocks = 129, .num_writers = 2,
		.steps = 600, .cuts = 200,
		.write = 30, .write_wait = 10, .zero = 5, .read = 10,
		.flush = 4, .flush_wait = 2, .reopen = 2, .kill = 2,
		.fresh = 30,
	},
	{
		.name = "a fixed disk",
		.params = { .virtual_size = 64 * MIB, .block_size = MIB,
			    .fixed = true },
		.num_blocks = 64, .num_writers = 2,
		.steps = 400, .cuts = 200,
		.write = 30, .write_wait = 10, .zero = 5, .read = 10,
		.flush = 4, .flush_wait = 2, .reopen = 3, .kill = 2,
		.fresh = 30,
	},
	{
		.name = "writers that come and go",
		.params = { .virtual_size = 64 * MIB, .block_size = MIB },
		.num_blocks = 64, .num_writers = 3,
		.steps = 600, .cuts = 300,
		.write = 10, .write_wait = 5, .zero = 2, .read = 2,
		.flush = 2, .flush_wait = 1, .reopen = 15, .kill = 3,
		.fresh = 40,
	},
	{
		.name = "a differencing disk with one writer",
		.params = { .virtual_size = 128 * MIB, .block_size = MIB },
		.num_blocks = 120, .num_writers = 1, .child = true,
		.merge_cuts = 150,
		.steps = 600, .cuts = 300,
		.write = 30, .write_wait = 10, .zero = 5, .read = 10,
		.flush = 3, .flush_wait = 2, .reopen = 2, .fresh = 40,
	},
	{
		.name = "a differencing disk with three writers",
		.params = { .virtual_size = 700 * MIB, .block_size = MIB },
		.first_block = 450, .num_blocks = 60, .num_writers = 3,
		.child = true,
		.merge_cuts = 150,
		.steps = 800, .cuts = 400,
		.write = 30, .write_wait = 10, .zero = 5, .read = 10,
		.flush = 3, .flush_wait = 2, .reopen = 3, .fresh = 30,
	},
	{
		.name = "a differencing disk whose writers are killed",
		.params = { .virtual_size = 64 * MIB, .block_size = 2 * MIB },
		.num_blocks = 30, .num_writers = 3, .child = true,
		.merge_cuts = 150,
		.steps = 800, .cuts = 400,
		.write = 30, .write_wait = 10, .zero = 8, .read = 10,
		.flush = 3, .flush_wait = 2, .reopen = 4, .kill = 5,
		.fresh = 40,
	},
	{
		.name = "a differencing disk of 4 KiB sectors",
		.params = { .virtual_size = 64 * MIB + 40960,
			    .block_size = MIB,
			    .logical_sector_size = 4096 },
		.num_blocks = 64, .num_writers = 2, .child = true,
		.merge_cuts = 150,
		.steps = 600, .cuts = 300,
		.write = 20, .write_wait = 20, .zero = 8, .read = 10,
		.flush = 3, .flush_wait = 2, .reopen = 4, .kill = 2,
		.fresh = 40,
	},
	{
		.name = "a disk that gets larger and smaller",
		.params = { .virtual_size = 100 * MIB, .block_size = MIB },
		.num_blocks = 100, .num_writers = 2,
		.steps = 400, .cuts = 300,
		.write = 20, .write_wait = 10, .zero = 3, .read = 5,
		.flush = 3, .flush_wait = 1, .reopen = 2, .resize = 12,
		.fresh = 40,
	},
	{
		.name = "a disk whose writers are killed while they resize it",
		.params = { .virtual_size = 100 * MIB + 4096,
			    .block_size = MIB },
		.num_blocks = 100, .num_writers = 3,
		.steps = 500, .cuts = 300,
		.write = 20, .write_wait = 10, .zero = 3, .read = 5,
		.flush = 3, .flush_wait = 1, .reopen = 3, .kill = 8,
		.resize = 12, .fresh = 40,
	},
	{
		.name = "blocks that are trimmed and written again",
		.params = { .virtual_size = 48 * MIB, .block_size = MIB },
		.num_blocks = 40, .num_writers = 3,
		.steps = 1500, .cuts = 400,
		.write = 30, .write_wait = 10, .zero = 15, .trim = 80,
		.read = 25, .flush = 5, .flush_wait = 4, .reopen = 1,
	},
	{
		.name = "writers that are killed while they trim",
		.params = { .virtual_size = 40 * MIB + 4096,
			    .block_size = MIB },
		.num_blocks = 40, .num_writers = 3,
		.steps = 1200, .cuts = 400,
		.write = 20, .write_wait = 20, .zero = 25, .trim = 80,
		.read = 15, .flush = 4, .flush_wait = 4, .reopen = 2,
		.kill = 6,
	},
	{
		.name = "a disk that is trimmed and resized by who is killed",
		.params = { .virtual_size = 64 * MIB, .block_size = MIB },
		.num_blocks = 60, .num_writers = 2,
		.steps = 500, .cuts = 300,
		.write = 20, .write_wait = 10, .zero = 15, .trim = 80,
		.read = 5, .flush = 4, .flush_wait = 2, .reopen = 4,
		.kill = 4, .resize = 8,
	},
};

/* Where flushes are to be broken */
enum crash_in { IN_LIFE, IN_CREATE, IN_MERGE };

struct options {
	uint64_t seed;
	uint64_t num_seeds;
	uint64_t cuts;		/* stop when so many are done; 0: never */
	bool one_cut;
	uint64_t cut_time;
	uint64_t cut_number;
	const char *save;
	const char *export;
	bool trace;
	enum crash_flush flush;
	enum crash_in flush_in;
	bool blind;
};

static enum crash_flush flush_in(const struct options *options,
				 enum crash_in in)
{
	return (options->flush_in == in) ? options->flush : CRASH_FLUSH_WORKS;
}

struct result {
	uint64_t num_cuts;
	uint64_t num_lives;
	char *failure;
	uint64_t seed;
	uint64_t time;
	uint64_t number;
};

/*
 * What a seed has lives of: one image, or children, each of which ends in its
 * parent, or its parent in it, and what comes of that is the next one's parent.
 */
struct generations {
	const struct crash_plan *plan;
	struct crash_random random;
	struct crash_file *parent;	/* NULL: it has none */
	struct crash_oracle *oracle;	/* what the next life begins with */
};

/* At most */
#define MAX_GENERATIONS 3

/* Of the power, in the creation of one image */
#define CREATE_CUTS 20

static const struct crash_plan *plan_of(uint64_t seed)
{
	return &plans[seed % ARRAY_SIZE(plans)];
}

/* What the cuts of a life decide, whatever was done before each */
static uint64_t cut_seed(uint64_t seed, uint64_t time, uint64_t number)
{
	struct crash_random random = {
		.state = seed ^ (time << 20) ^ (number << 50) ^ 0xC7,
	};

	return crash_random(&random, 0);
}

/* The file as it is, without opening it */
static const char *file_check(TALLOC_CTX *mem_ctx,
			      const struct crash_file *file, bool closed)
{
	struct crash_random random = { .state = 1 };
	struct crash_disk *disk = crash_disk_new(
		mem_ctx, crash_file_copy(file), CRASH_FLUSH_WORKS);
	struct crash_port *port = crash_port_new(disk, disk, &random);
	struct vhdx_check_report *report = NULL;
	const char *reason = NULL;
	NTSTATUS status;
	size_t i;

	status = vhdx_check(disk, crash_port_storage(port), NULL, NULL,
			    &report);
	if (!NT_STATUS_IS_OK(status)) {
		reason = talloc_asprintf(mem_ctx, "check: %s",
					 nt_errstr(status));
		report = NULL;
	}
	for (i = 0; report != NULL && i < report->num_findings; i++) {
		const struct vhdx_check_finding *f = &report->findings[i];

		if (reason == NULL && (f->is_error || closed)) {
			reason = talloc_asprintf(mem_ctx, "check: %s, %s: %s",
						 f->structure, f->field,
						 f->rule);
		}
	}
	TALLOC_FREE(disk);
	return reason;
}

/* Who only reads replays the log in memory. */
static const char *file_compare_read_only(TALLOC_CTX *mem_ctx,
					  const struct crash_plan *plan,
					  const struct crash_file *file,
					  const struct crash_file *parent,
					  struct crash_oracle *oracle,
					  uint64_t since, uint64_t time,
					  uint64_t *versions)
{
	struct crash_random random = { .state = 1 };
	struct crash_disk *disk = crash_disk_new(
		mem_ctx, crash_file_copy(file), CRASH_FLUSH_WORKS);
	struct crash_port *port = crash_port_new(disk, disk, &random);
	struct vhdx *image = NULL;
	const char *reason = NULL;
	char *why = NULL;
	NTSTATUS status;

	status = vhdx_open_chain(disk, crash_port_storage(port), NULL,
				 VHDX_OPEN_READ_ONLY,
				 crash_parents(crash_parent_new(disk, parent)),
				 &image, &why);
	if (!NT_STATUS_IS_OK(status)) {
		reason = talloc_asprintf(mem_ctx, "open to read: %s: %s",
					 nt_errstr(status),
					 why != NULL ? why : "-");
	} else {
		reason = crash_image_compare(image, oracle, plan, since, time,
					     versions);
		vhdx_close(&image);
	}
	if (reason == NULL && crash_disk_time(disk) > 0) {
		reason = "who only reads has written";
	}
	TALLOC_FREE(disk);
	return reason;
}

static void life_cut(struct crash_life *life, const struct options *options,
		     uint64_t seed, unsigned depth, struct result *result);

/* A file that a power cut left; NULL: it is as it has to be. */
static const char *file_verify(TALLOC_CTX *mem_ctx, struct crash_life *before,
			       struct crash_file *file, uint64_t time,
			       const struct options *options, uint64_t seed,
			       unsigned depth, struct result *result)
{
	uint64_t since = crash_life_stable_since(before, time);
	size_t num = crash_oracle_num_sectors(before->oracle);
	struct crash_random random = { .state = seed };
	struct crash_life *life = NULL;
	bool read_only = crash_chance(&random, 25);
	bool goes_on = depth == 0 && crash_chance(&random, 10);
	bool reopened = !goes_on && crash_chance(&random, 20);
	uint64_t *versions = NULL;
	uint64_t *again = NULL;
	const char *reason = NULL;

	/* What is found needs to be known where it is compared again. */
	if (read_only || goes_on || reopened) {
		versions = talloc_zero_array(mem_ctx, uint64_t, num);
		again = talloc_zero_array(mem_ctx, uint64_t, num);
	}

	reason = file_check(mem_ctx, file, false);
	if (reason == NULL && read_only) {
		reason = file_compare_read_only(mem_ctx, before->plan, file,
						before->parent, before->oracle,
						since, time, again);
	}
	if (reason != NULL) {
		crash_file_free(file);
		return reason;
	}

	life = crash_life_new(mem_ctx, before->plan,
			      crash_disk_new(mem_ctx, file,
					     CRASH_FLUSH_WORKS),
			      before->parent,
			      crash_oracle_new(mem_ctx, 1, CRASH_SECTOR *
					       4 * CRASH_WINDOW),
			      crash_random(&random, 0));
	if (!crash_life_begin(life, !goes_on) ||
	    !crash_life_compare(life, before->oracle, since, time,
				versions)) {
		return life->failure;
	}
	if (!crash_life_size_is_possible(before, time, life->first_size)) {
		return talloc_asprintf(mem_ctx, "a size of %" PRIu64,
				       life->first_size);
	}
	if (read_only && memcmp(versions, again, num * sizeof(again[0])) != 0) {
		return "who only reads sees something else";
	}
	if (goes_on || reopened) {
		life->oracle = crash_oracle_after_cut(life, before->oracle,
						      versions);
	}
	if (goes_on) {
		struct options one = *options;

		one.one_cut = false;
		life->had_kill = true;
		crash_life_go_on(life, crash_random(&random, 150));
		if (life->failure == NULL && crash_chance(&random, 50)) {
			crash_life_end(life);
		}
		if (life->failure == NULL) {
			life_cut(life, &one, crash_random(&random, 0),
				 depth + 1, result);
		}
		if (options->trace && depth == 0 && options->one_cut) {
			printf("# after the cut:\n");
			crash_disk_print(life->disk, stdout);
		}
		return life->failure;
	}
	if (!crash_life_end(life)) {
		return life->failure;
	}
	if (reopened) {
		reason = file_check(mem_ctx, crash_disk_now(life->disk),
				    false);
		if (reason == NULL) {
			reason = file_compare_read_only(
				mem_ctx, before->plan,
				crash_disk_now(life->disk), life->parent,
				life->oracle, CRASH_NEVER, CRASH_NEVER, again);
		}
	}
	return reason;
}

static void file_export(const struct crash_file *file,
			const struct options *options, uint64_t seed,
			uint64_t time, const char *what)
{
	char *path = talloc_asprintf(NULL, "%s/%" PRIu64 "-%" PRIu64
				     ".%s.vhdx", options->export, seed, time,
				     what);

	if (crash_file_save(file, path) != 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(1);
	}
	TALLOC_FREE(path);
}

/* For other readers: the file after a cut, and after we had it open. */
static void cut_export(struct crash_life *life, const struct crash_file *file,
		       const struct options *options, uint64_t seed,
		       uint64_t time)
{
	struct crash_life *after = crash_life_new(
		NULL, life->plan,
		crash_disk_new(NULL, crash_file_copy(file),
			       CRASH_FLUSH_WORKS),
		life->parent,
		crash_oracle_new(NULL, 1, CRASH_SECTOR * 4 * CRASH_WINDOW),
		seed);

	file_export(file, options, seed, time, "cut");
	if (crash_life_begin(after, true) && crash_life_end(after)) {
		file_export(crash_disk_now(after->disk), options, seed, time,
			    "recovered");
	}
	TALLOC_FREE(after);
}

/* At each moment one cut, or more or fewer, so that they are enough. */
static void life_cut(struct crash_life *life, const struct options *options,
		     uint64_t seed, unsigned depth, struct result *result)
{
	struct crash_cutter *cutter = crash_cutter_new(life, life->disk);
	uint64_t wanted = (depth == 0) ? life->plan->cuts : 4;
	uint64_t num_events = crash_disk_time(life->disk);
	struct crash_random random = { .state = seed };

	do {
		uint64_t time = crash_cutter_time(cutter);
		uint64_t num = crash_share(&random, wanted, num_events + 1);
		uint64_t i;

		if (crash_cutter_num_pending(cutter) == 0) {
			num = MIN(num, 1);
		}
		if (options->one_cut) {
			num = (time == options->cut_time) ?
			      options->cut_number + 1 : 0;
		}
		for (i = options->one_cut ? options->cut_number : 0; i < num;
		     i++) {
			uint64_t own = cut_seed(seed, time, i);
			struct crash_random cut_random = { .state = own };
			TALLOC_CTX *frame = talloc_new(life);
			struct crash_file *file = crash_cutter_cut(
				cutter, &cut_random);
			const char *reason = NULL;

			if (options->save != NULL && options->one_cut) {
				crash_file_save(file, options->save);
			}
			if (options->export != NULL && depth == 0 &&
			    crash_random(&cut_random, wanted) < 3) {
				cut_export(life, file, options, seed, time);
			}
			reason = file_verify(frame, life, file, time, options,
					     own, depth, result);
			result->num_cuts += 1;
			if (reason != NULL) {
				life->failure = talloc_asprintf(
					life, "cut at %" PRIu64 ":%" PRIu64
					": %s", time, i, reason);
				result->time = time;
				result->number = i;
				TALLOC_FREE(frame);
				return;
			}
			TALLOC_FREE(frame);
		}
	} while (crash_cutter_next(cutter));
	TALLOC_FREE(cutter);
}

/* What looks like an image after a power cut in its creation is one. */
static const char *created_verify(TALLOC_CTX *mem_ctx,
				  const struct crash_plan *plan,
				  const struct crash_file *file,
				  const struct crash_file *parent,
				  struct crash_oracle *oracle, bool is_done)
{
	const char *reason = NULL;
	uint8_t signature[8] = { 0 };

	if (crash_file_size(file) >= sizeof(signature)) {
		crash_file_read(file, signature, sizeof(signature), 0);
	}
	if (!is_done && memcmp(signature, "vhdxfile", 8) != 0) {
		return NULL;
	}
	reason = file_check(mem_ctx, file, true);
	if (reason == NULL) {
		reason = file_compare_read_only(mem_ctx, plan, file, parent,
						oracle, CRASH_NEVER,
						CRASH_NEVER, NULL);
	}
	return reason;
}

/*
 * A new image, a child if there is a parent; and the power goes meanwhile.
 * The caller frees *file*.
 */
static const char *image_create(TALLOC_CTX *mem_ctx,
				const struct crash_plan *plan,
				const struct crash_file *parent,
				struct crash_oracle *oracle,
				enum crash_flush flush, uint64_t seed,
				uint64_t cuts, struct crash_file **file,
				uint64_t *num_cuts)
{
	struct crash_random random = { .state = seed };
	struct crash_disk *disk = crash_disk_new(mem_ctx, crash_file_new(),
						 flush);
	struct crash_port *port = crash_port_new(disk, disk, &random);
	struct crash_cutter *cutter = NULL;
	NTSTATUS status;

	status = crash_parent_create(plan, parent, crash_port_storage(port));
	if (!NT_STATUS_IS_OK(status)) {
		return talloc_asprintf(mem_ctx, "create: %s",
				       nt_errstr(status));
	}
	*file = crash_file_copy(crash_disk_now(disk));

	cutter = crash_cutter_new(disk, disk);
	do {
		uint64_t end = crash_disk_time(disk);
		bool is_done = crash_cutter_time(cutter) == end;
		uint64_t num = crash_share(&random, cuts, end + 1);

		for (; num > 0; num--) {
			TALLOC_CTX *frame = talloc_new(disk);
			struct crash_file *cut = crash_cutter_cut(cutter,
								  &random);
			const char *reason = NULL;

			reason = created_verify(frame, plan, cut, parent,
						oracle, is_done);
			*num_cuts += 1;
			crash_file_free(cut);
			if (reason != NULL) {
				return talloc_asprintf(
					mem_ctx, "create, cut at %" PRIu64
					": %s", crash_cutter_time(cutter),
					reason);
			}
			TALLOC_FREE(frame);
		}
	} while (crash_cutter_next(cutter));
	return NULL;
}

static struct crash_oracle *oracle_create(TALLOC_CTX *mem_ctx,
					  const struct crash_plan *plan)
{
	uint64_t size = plan->params.block_size;
	struct crash_oracle *oracle = crash_oracle_new(
		mem_ctx, (plan->params.virtual_size + size - 1) / size, size);
	uint64_t block;

	/* What the parent has is there since ever. */
	for (block = 0; block < plan->first_block + plan->num_blocks;
	     block++) {
		if (block >= plan->first_block &&
		    crash_parent_has(plan, block)) {
			crash_oracle_begin(oracle, block * size, size,
					   CRASH_PARENT_VERSION, 0);
			crash_oracle_end(oracle, block * size, size, 0, true);
		}
	}
	return oracle;
}

/*
 * The child that a life has left goes into its parent, or they into it; and
 * the power goes meanwhile. The parent is then what has all of it.
 */
static void life_merge(struct crash_life *life, const struct options *options,
		       uint64_t seed, struct generations *generations,
		       struct result *result)
{
	const struct crash_file *child = crash_disk_now(life->disk);
	TALLOC_CTX *frame = talloc_new(life);
	uint64_t *versions = talloc_zero_array(
		frame, uint64_t, crash_oracle_num_sectors(life->oracle));
	struct crash_file *merged = NULL;
	const char *reason = NULL;

	/* Of what was not acknowledged, either may be there. */
	reason = file_compare_read_only(frame, life->plan, child, life->parent,
					life->oracle,
					crash_disk_time(life->disk),
					CRASH_NEVER, versions);
	if (reason == NULL) {
		generations->oracle = crash_oracle_after_cut(
			generations, life->oracle, versions);
		reason = crash_merge(
			frame, life->plan, child, life->parent,
			generations->oracle, flush_in(options, IN_MERGE), seed,
			options->one_cut ? 0 : life->plan->merge_cuts,
			file_check, &merged, &result->num_cuts);
	}
	if (reason != NULL) {
		life->failure = talloc_strdup(life, reason);
	}
	if (merged != NULL) {
		crash_file_free(generations->parent);
		generations->parent = merged;
	}
	TALLOC_FREE(frame);
}

/* From the making of an image to its end in another one */
static const char *generation_run(struct generations *generations,
				  const struct options *options,
				  struct result *result)
{
	const struct crash_plan *plan = generations->plan;
	struct crash_random *random = &generations->random;
	struct crash_file *file = NULL;
	struct crash_life *life = NULL;
	const char *reason = NULL;
	bool ok;

	reason = image_create(generations, plan, generations->parent,
			      generations->oracle,
			      flush_in(options, IN_CREATE),
			      crash_random(random, 0),
			      options->one_cut ? 0 : CREATE_CUTS, &file,
			      &result->num_cuts);
	if (reason != NULL) {
		return reason;
	}
	life = crash_life_new(generations, plan,
			      crash_disk_new(generations, file,
					     flush_in(options, IN_LIFE)),
			      generations->parent, generations->oracle,
			      crash_random(random, 0));
	life->blind = options->blind;
	result->num_lives += 1;
	ok = crash_life_begin(life, false) &&
	     crash_life_go_on(life, plan->steps);
	if (ok && crash_chance(random, 50)) {
		ok = crash_life_end(life);
		if (ok && !life->had_kill && !plan->child) {
			/*
			 * Nothing is left that could be said of the image,
			 * but that two who copied a block left a place, and
			 * of the space that a resize drops.
			 */
			life->failure = file_check(
				life, crash_disk_now(life->disk),
				plan->resize == 0);
		}
	}
	if (options->trace) {
		crash_disk_print(life->disk, stdout);
	}
	if (life->failure == NULL) {
		life_cut(life, options, crash_random(random, 0), 0, result);
	}
	if (life->failure == NULL && plan->child) {
		life_merge(life, options, crash_random(random, 0), generations,
			   result);
	}
	if (life->failure != NULL) {
		return talloc_strdup(generations, life->failure);
	}
	TALLOC_FREE(life);
	return NULL;
}

/* All of one seed; false when something failed */
static bool seed_run(uint64_t seed, const struct options *options,
		     struct result *result)
{
	const struct crash_plan *plan = plan_of(seed);
	struct generations *generations = talloc_zero(NULL,
						      struct generations);
	const char *reason = NULL;
	unsigned num = 1;
	bool ok;

	generations->plan = plan;
	generations->random.state = seed;
	generations->oracle = oracle_create(generations, plan);
	if (plan->child) {
		generations->parent = crash_parent_make(plan);
		num += crash_random(&generations->random, MAX_GENERATIONS);
	}
	result->time = UINT64_MAX;
	for (; num > 0 && reason == NULL; num--) {
		reason = generation_run(generations, options, result);
	}
	ok = reason == NULL;
	if (!ok) {
		result->failure = talloc_strdup(NULL, reason);
		result->seed = seed;
	}
	if (generations->parent != NULL) {
		crash_file_free(generations->parent);
	}
	TALLOC_FREE(generations);
	return ok;
}

static void print_failure(const struct result *result)
{
	printf("# %s\n", result->failure);
	printf("# again: build/default/tests/crash/test_power_cut "
	       "--seed=%" PRIu64, result->seed);
	if (result->time != UINT64_MAX) {
		printf(" --cut=%" PRIu64 ":%" PRIu64, result->time,
		       result->number);
	}
	printf("\n");
}

static int run_seeds(const struct options *options)
{
	struct result result = { .num_cuts = 0 };
	uint64_t i;

	for (i = 0; i < options->num_seeds; i++) {
		if (!seed_run(options->seed + i, options, &result)) {
			print_failure(&result);
			return 1;
		}
	}
	printf("# %s: %" PRIu64 " lives, %" PRIu64 " cuts\n",
	       plan_of(options->seed)->name, result.num_lives,
	       result.num_cuts);
	return 0;
}

/* The tests: a process each, as many at a time as is good */

#define MAX_PROCESSES 2

struct test {
	pid_t pid;
	FILE *out;
	bool ok;
	uint64_t num_cuts;
};

static void test_plan(size_t plan, const struct options *all,
		      struct test *test)
{
	struct options options = { .flush = CRASH_FLUSH_WORKS };
	struct result result = { .num_cuts = 0 };
	uint64_t num = ARRAY_SIZE(plans);
	uint64_t first = all->seed - all->seed % num + plan;
	uint64_t cuts = all->cuts / num + 1;

	test->ok = true;
	for (options.seed = first; test->ok && result.num_cuts < cuts;
	     options.seed += num) {
		test->ok = seed_run(options.seed, &options, &result);
	}
	test->num_cuts = result.num_cuts;
	printf("# seeds %" PRIu64 ", %" PRIu64 ", ... %" PRIu64 "\n", first,
	       first + num, options.seed - num);
	if (!test->ok) {
		print_failure(&result);
	}
	printf("%sok %zu - what was flushed survives %" PRIu64
	       " power cuts: %s\n", test->ok ? "" : "not ", plan + 1,
	       test->num_cuts, plans[plan].name);
}

/* A harness that finds nothing proves nothing. */
static const struct {
	enum crash_flush flush;
	enum crash_in in;
	bool blind;
	const char *name;
} notices[] = {
	{ CRASH_FLUSH_NEVER, IN_LIFE, false,
	  "flushes that do nothing are noticed" },
	{ CRASH_FLUSH_ASKED, IN_LIFE, false,
	  "a flush left out by the engine is noticed" },
	{ CRASH_FLUSH_LATE, IN_LIFE, false,
	  "a flush that misses the newest is noticed" },
	{ CRASH_FLUSH_NEVER, IN_CREATE, false,
	  "an image made without flushes is noticed" },
	{ CRASH_FLUSH_LATE, IN_CREATE, false,
	  "an image that looks like one too early is noticed" },
	{ CRASH_FLUSH_NEVER, IN_MERGE, false,
	  "a merge without flushes is noticed" },
	{ CRASH_FLUSH_LATE, IN_MERGE, false,
	  "a merge with its flushes too early is noticed" },
	{ CRASH_FLUSH_WORKS, IN_LIFE, true,
	  "a place that is used again under somebody's I/O is noticed" },
};

static void test_notices(size_t i, struct test *test)
{
	struct options options = {
		.flush = notices[i].flush, .flush_in = notices[i].in,
		.blind = notices[i].blind,
	};
	struct result result = { .num_cuts = 0 };
	uint64_t seed;

	for (seed = 0; seed < 30 * ARRAY_SIZE(plans); seed++) {
		if ((options.blind && plan_of(seed)->trim == 0) ||
		    (options.flush_in == IN_MERGE && !plan_of(seed)->child)) {
			continue;
		}
		if (!seed_run(seed, &options, &result)) {
			printf("# %s\n", result.failure);
			break;
		}
	}
	test->ok = result.failure != NULL;
	printf("%sok %zu - %s\n", test->ok ? "" : "not ",
	       ARRAY_SIZE(plans) + i + 1, notices[i].name);
}

static void test_start(size_t i, const struct options *options,
		       struct test *test)
{
	pid_t pid;

	test->out = tmpfile();
	fflush(stdout);
	pid = fork();
	if (test->out == NULL || pid == -1) {
		perror("fork");
		exit(1);
	}
	if (pid > 0) {
		test->pid = pid;
		return;
	}
	dup2(fileno(test->out), STDOUT_FILENO);
	if (i < ARRAY_SIZE(plans)) {
		test_plan(i, options, test);
	} else {
		test_notices(i - ARRAY_SIZE(plans), test);
	}
	fflush(stdout);
	_exit(0);
}

static void test_finish(size_t i, struct test *test)
{
	char line[1024];
	int status = -1;

	waitpid(test->pid, &status, 0);
	rewind(test->out);
	while (fgets(line, sizeof(line), test->out) != NULL) {
		fputs(line, stdout);
	}
	fclose(test->out);
	if (status != 0) {
		test->ok = false;
		printf("not ok %zu - ended with wait status %d\n", i + 1,
		       status);
	}
	fflush(stdout);
}

static int run_tests(const struct options *options)
{
	size_t num = ARRAY_SIZE(plans) + ARRAY_SIZE(notices);
	struct test *tests = NULL;
	uint64_t total = 0;
	size_t started = 0;
	bool ok = true;
	size_t i;

	/* Shared with the children, who tell what came out there. */
	tests = mmap(NULL, num * sizeof(*tests), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (tests == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	printf("1..%zu\n", num + 1);
	for (i = 0; i < num; i++) {
		while (started < num && started < i + MAX_PROCESSES) {
			test_start(started, options, &tests[started]);
			started += 1;
		}
		test_finish(i, &tests[i]);
		total += tests[i].num_cuts;
		ok &= tests[i].ok;
	}
	printf("%sok %zu - %" PRIu64 " power cuts were tried\n",
	       total >= options->cuts ? "" : "not ", num + 1, total);
	return ok && total >= options->cuts ? 0 : 1;
}

static const char usage[] =
	"usage: test_power_cut [--seed=N] [--cuts=N]     the tests\n"
	"       test_power_cut --seed=N --seeds=N        so many lives\n"
	"       test_power_cut --seed=N --cut=TIME:NUMBER [--save=FILE]\n"
	"                      [--trace]\n"
	"       test_power_cut --seed=N --seeds=N --export=DIR  some of the "
	"files\n";

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "seeds", required_argument, NULL, 'n' },
		{ "cuts", required_argument, NULL, 'c' },
		{ "cut", required_argument, NULL, 't' },
		{ "save", required_argument, NULL, 'f' },
		{ "export", required_argument, NULL, 'e' },
		{ "trace", no_argument, NULL, 'p' },
		{ "flush", required_argument, NULL, 'b' },
		{ "blind", no_argument, NULL, 'd' },
		{ NULL, 0, NULL, 0 },
	};
	struct options options = { .cuts = 24000 };
	char *end = NULL;
	int opt;

	while ((opt = getopt_long(argc, argv, "", long_options, NULL)) !=
	       -1) {
		switch (opt) {
		case 's':
			options.seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			options.num_seeds = strtoull(optarg, NULL, 0);
			break;
		case 'c':
			options.cuts = strtoull(optarg, NULL, 0);
			break;
		case 't':
			options.one_cut = true;
			options.num_seeds = 1;
			options.cut_time = strtoull(optarg, &end, 0);
			options.cut_number = strtoull(end + 1, NULL, 0);
			break;
		case 'f':
			options.save = optarg;
			break;
		case 'e':
			options.export = optarg;
			break;
		case 'p':
			options.trace = true;
			break;
		case 'b':
			options.flush = strtoul(optarg, NULL, 0);
			break;
		case 'd':
			options.blind = true;
			break;
		default:
			fprintf(stderr, "%s", usage);
			return 2;
		}
	}
	setup_logging("test_power_cut", DEBUG_STDERR);
	if (options.num_seeds > 0) {
		int ret = run_seeds(&options);

		/* What the killed have left is no leak. */
		fflush(stdout);
		_exit(ret);
	}
	return run_tests(&options);
}
