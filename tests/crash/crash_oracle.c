/*
 * vfs_rsvd: what a disk may answer
 *
 * Of two writes to a sector the later one replaces the earlier one if it
 * began when that had ended, and was acknowledged in time. All that are not
 * replaced may be there.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "tests/crash/crash_oracle.h"

#define PER_BLOCK (2 * CRASH_WINDOW)

struct entry {
	uint64_t version;
	uint64_t begin;
	uint64_t end;		/* it cannot change anything after that */
	uint64_t acknowledged;
};

struct history {
	struct entry *entries;	/* a talloc array */
	size_t num;
	bool busy;
};

struct crash_oracle {
	uint64_t num_blocks;
	uint64_t block_size;
	struct history *sectors;	/* PER_BLOCK of each block */
	bool *touched;			/* blocks */
};

struct crash_oracle *crash_oracle_new(TALLOC_CTX *mem_ctx,
				      uint64_t num_blocks,
				      uint64_t block_size)
{
	struct crash_oracle *oracle = talloc(mem_ctx, struct crash_oracle);

	oracle->num_blocks = num_blocks;
	oracle->block_size = block_size;
	oracle->sectors = talloc_zero_array(oracle, struct history,
					    num_blocks * PER_BLOCK);
	oracle->touched = talloc_zero_array(oracle, bool, num_blocks);
	return oracle;
}

size_t crash_oracle_num_sectors(const struct crash_oracle *oracle)
{
	return oracle->num_blocks * PER_BLOCK;
}

static struct entry *entry_add(struct crash_oracle *oracle,
			       struct history *history)
{
	if (talloc_array_length(history->entries) == history->num) {
		history->entries = talloc_realloc(
			oracle, history->entries, struct entry,
			MAX(4, 2 * history->num));
	}
	history->num += 1;
	return &history->entries[history->num - 1];
}

struct crash_oracle *crash_oracle_after_cut(TALLOC_CTX *mem_ctx,
					    const struct crash_oracle *oracle,
					    const uint64_t *versions)
{
	struct crash_oracle *after = crash_oracle_new(
		mem_ctx, oracle->num_blocks, oracle->block_size);
	size_t i;

	memcpy(after->touched, oracle->touched, oracle->num_blocks);
	for (i = 0; i < crash_oracle_num_sectors(oracle); i++) {
		if (versions[i] != 0) {
			*entry_add(after, &after->sectors[i]) =
				(struct entry) { .version = versions[i] };
		}
	}
	return after;
}

/*
 * Calls fn for each sector of the range that has a history, with where it is
 * in the range.
 */
typedef void (*sector_fn)(struct crash_oracle *oracle, size_t index,
			  uint64_t sector, uint64_t skip,
			  void *private_data);

static void for_sectors(const struct crash_oracle *_oracle, uint64_t offset,
			uint64_t length, sector_fn fn, void *private_data)
{
	struct crash_oracle *oracle = discard_const(_oracle);
	uint64_t per_block = oracle->block_size / CRASH_SECTOR;
	uint64_t first = offset / CRASH_SECTOR;
	uint64_t end = (offset + length) / CRASH_SECTOR;
	uint64_t sector = first;

	while (sector < end) {
		uint64_t block = sector / per_block;
		uint64_t in_block = sector % per_block;
		size_t i;

		if (in_block < CRASH_WINDOW) {
			i = in_block;
		} else if (in_block < per_block - CRASH_WINDOW) {
			sector += per_block - CRASH_WINDOW - in_block;
			continue;
		} else {
			i = in_block - per_block + PER_BLOCK;
		}
		fn(oracle, block * PER_BLOCK + i, sector,
		   (sector - first) * CRASH_SECTOR, private_data);
		sector += 1;
	}
}

static void busy_fn(struct crash_oracle *oracle, size_t index,
		    uint64_t sector, uint64_t skip, void *private_data)
{
	bool *busy = private_data;

	*busy |= oracle->sectors[index].busy;
}

bool crash_oracle_is_busy(const struct crash_oracle *oracle, uint64_t offset,
			  uint64_t length)
{
	bool busy = false;

	for_sectors(oracle, offset, length, busy_fn, &busy);
	return busy;
}

static void begin_fn(struct crash_oracle *oracle, size_t index,
		     uint64_t sector, uint64_t skip, void *private_data)
{
	const struct entry *entry = private_data;
	struct history *history = &oracle->sectors[index];

	history->busy = true;
	*entry_add(oracle, history) = *entry;
	oracle->touched[index / PER_BLOCK] = true;
}

void crash_oracle_begin(struct crash_oracle *oracle, uint64_t offset,
			uint64_t length, uint64_t version, uint64_t time)
{
	struct entry entry = {
		.version = version,
		.begin = time,
		.end = CRASH_NEVER,
		.acknowledged = CRASH_NEVER,
	};

	for_sectors(oracle, offset, length, begin_fn, &entry);
}

struct end {
	uint64_t time;
	bool acknowledged;
};

static void end_fn(struct crash_oracle *oracle, size_t index,
		   uint64_t sector, uint64_t skip, void *private_data)
{
	const struct end *end = private_data;
	struct history *history = &oracle->sectors[index];
	struct entry *entry = &history->entries[history->num - 1];

	history->busy = false;
	entry->end = end->time;
	if (end->acknowledged) {
		entry->acknowledged = end->time;
	}
}

void crash_oracle_end(struct crash_oracle *oracle, uint64_t offset,
		      uint64_t length, uint64_t time, bool acknowledged)
{
	struct end end = { .time = time, .acknowledged = acknowledged };

	for_sectors(oracle, offset, length, end_fn, &end);
}

struct fill {
	uint8_t *buf;
	uint64_t version;
};

static void fill_fn(struct crash_oracle *oracle, size_t index,
		    uint64_t sector, uint64_t skip, void *private_data)
{
	const struct fill *fill = private_data;
	uint64_t *p = (uint64_t *)(fill->buf + skip);
	size_t i;

	for (i = 0; i < CRASH_SECTOR / 16; i++) {
		*p++ = fill->version;
		*p++ = sector;
	}
}

void crash_oracle_fill(const struct crash_oracle *oracle, uint8_t *buf,
		       uint64_t offset, uint64_t length, uint64_t version)
{
	struct fill fill = { .buf = buf, .version = version };

	memset(buf, 0, length);
	if (version != 0) {
		for_sectors(oracle, offset, length, fill_fn, &fill);
	}
}

/* The version that a sector has, 0 for zeros, CRASH_NEVER for no version */
static uint64_t version_of(const uint8_t *buf, uint64_t sector)
{
	const uint64_t *p = (const uint64_t *)buf;
	uint64_t version = p[0];
	size_t i;

	if (version == 0) {
		sector = 0;
	}
	for (i = 0; i < CRASH_SECTOR / 16; i++) {
		if (p[2 * i] != version || p[2 * i + 1] != sector) {
			return CRASH_NEVER;
		}
	}
	return version;
}

static bool history_allows(const struct history *history, uint64_t version,
			   uint64_t since, uint64_t time)
{
	/* One that was not replaced by any of the later ones */
	uint64_t replaced = 0;
	size_t i;

	for (i = history->num; i-- > 0;) {
		const struct entry *entry = &history->entries[i];

		if (entry->begin >= time && entry->begin > 0) {
			continue;
		}
		if (entry->version == version && entry->end >= replaced) {
			return true;
		}
		if (entry->acknowledged <= since) {
			replaced = MAX(replaced, entry->begin + 1);
		}
	}
	return version == 0 && replaced == 0;
}

struct check {
	const uint8_t *buf;
	uint64_t since;
	uint64_t time;
	uint64_t *versions;
	const char *reason;
};

static char *history_describe(struct crash_oracle *oracle,
			      const struct history *history)
{
	char *s = talloc_strdup(oracle, "history");
	size_t i;

	for (i = (history->num > 8) ? history->num - 8 : 0; i < history->num;
	     i++) {
		const struct entry *e = &history->entries[i];

		s = talloc_asprintf_append(
			s, " %" PRIu64 "@%" PRIu64 "-%" PRId64 "%s",
			e->version, e->begin, (int64_t)e->end,
			e->acknowledged == CRASH_NEVER ? "(killed)" : "");
	}
	return s;
}

static void check_fn(struct crash_oracle *oracle, size_t index,
		     uint64_t sector, uint64_t skip, void *private_data)
{
	struct check *check = private_data;
	const struct history *history = &oracle->sectors[index];
	uint64_t version = version_of(check->buf + skip, sector);

	if (check->versions != NULL) {
		check->versions[index] = version;
	}
	if (check->reason != NULL ||
	    (version != CRASH_NEVER &&
	     history_allows(history, version, check->since, check->time))) {
		return;
	}
	if (version == CRASH_NEVER) {
		const uint64_t *p = (const uint64_t *)(check->buf + skip);

		check->reason = talloc_asprintf(
			oracle, "sector %" PRIu64 " (block %" PRIu64 ") has "
			"what was never written there: %016" PRIx64 " "
			"%016" PRIx64, sector,
			sector * CRASH_SECTOR / oracle->block_size, p[0],
			p[1]);
		return;
	}
	check->reason = talloc_asprintf(
		oracle, "sector %" PRIu64 " (block %" PRIu64 ") has version "
		"%" PRIu64 " at %" PRIu64 ", stable since %" PRIu64 ": %s",
		sector, sector * CRASH_SECTOR / oracle->block_size, version,
		check->time, check->since, history_describe(oracle, history));
}

const char *crash_oracle_check(struct crash_oracle *oracle,
			       const uint8_t *buf, uint64_t offset,
			       uint64_t length, uint64_t since, uint64_t time,
			       uint64_t *versions)
{
	struct check check = {
		.buf = buf, .since = since, .time = time,
		.versions = versions,
	};

	for_sectors(oracle, offset, length, check_fn, &check);
	return check.reason;
}

bool crash_oracle_is_touched(const struct crash_oracle *oracle,
			     uint64_t block)
{
	return oracle->touched[block];
}
