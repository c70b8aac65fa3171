/*
 * vfs_rsvd: the insides of the VHDX engine
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _VHDX_PRIVATE_H_
#define _VHDX_PRIVATE_H_

#include "modules/vhdx/vhdx.h"
#include "modules/vhdx/vhdx_format.h"
#include "modules/vhdx/vhdx_shared.h"
#include "librpc/gen_ndr/vhdx_state.h"

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#endif

/* For qsort(); Samba has one too, from 4.20 on. */
#ifndef NUMERIC_CMP
#define NUMERIC_CMP(a, b) (((a) > (b)) - ((a) < (b)))
#endif

/* What one open or check found wrong, in the order it was found. */
struct vhdx_findings {
	struct vhdx_check_finding *list;
	size_t num;
	size_t num_errors;
};

/* A piece of the file that belongs to one structure. */
struct vhdx_range {
	uint64_t offset;
	uint64_t length;
	const char *name;
};

/* The current header, MS-VHDX 2.2.2 */
struct vhdx_header {
	uint64_t sequence_number;
	struct GUID file_write_guid;
	struct GUID data_write_guid;
	struct GUID log_guid;
	uint16_t log_version;
	uint16_t version;
	uint32_t log_length;
	uint64_t log_offset;
};

struct vhdx_bat_cache;
struct vhdx_epoch;
struct vhdx_log_overlay;
struct vhdx_sync;
struct vhdx_alloc_queue;

/*
 * What a flush makes stable: a copy of how far the shared state was when the
 * flush began. Everything in the record was written to the file before it
 * was stored there, so a flush that begins after the record was read has it.
 */
struct vhdx_mark {
	uint64_t session;
	uint8_t header_step;
	uint8_t log_step;
	uint64_t growing_end;
	uint64_t log_sequence;
	uint32_t log_head;
	uint32_t log_last_tail;
	uint64_t clean_sequence;
	uint64_t fill_sequence;
	bool can_clean;		/* vhdx_release_can_clean() */
};

/* What a resize changes, and with which map generation it came */
struct vhdx_shape {
	uint64_t map_generation;
	uint64_t release_sequence;
	bool releasing;
	uint64_t virtual_size;
	uint64_t bat_offset;
	uint64_t bat_length;
};

struct vhdx {
	struct vhdx_storage *storage;
	struct vhdx_shared *shared;
	struct vhdx_state *own_state;	/* in place of shared */
	struct db_record *locked_rec;	/* in vhdx_state_locked() */
	bool read_only;

	struct vhdx_geometry geometry;
	uint64_t num_blocks;
	unsigned block_shift;		/* log2 of the block size */
	unsigned chunk_shift;		/* log2 of the chunk ratio */

	struct vhdx_header header;	/* as it was when we opened */
	uint8_t header_copy;
	struct vhdx_range log;
	struct vhdx_range bat;
	struct vhdx_range metadata;
	struct vhdx_range locator;	/* length 0: there is none */
	struct vhdx_range *regions;	/* all, also those we do not know */
	size_t num_regions;
	uint64_t file_size;		/* the file has at least this */
	uint64_t size_offset;		/* of VirtualDiskSize, in the file */
	uint64_t params_offset;		/* of the file parameters */
	uint64_t used_end;		/* end of the last block, 0: unknown */
	struct vhdx_space *space;	/* who has what, while we open it */

	struct vhdx_log_overlay *overlay; /* a log not replayed in the file */
	struct vhdx_bat_cache *bat_cache;

	/* What we know of the shared state, see vhdx_state_refresh() */
	uint64_t instance;
	uint64_t session;
	uint64_t map_generation;
	int seqnum;
	bool session_ready;		/* the headers allow data writes */
	/*
	 * What the disk reads as stays the same, and so the DataWriteGuid has
	 * to: children go by it (MS-VHDX 2.2.2).
	 */
	bool same_data;
	struct GUID new_data_guid;	/* what it is going to be; zero: any */
	/*
	 * We failed between writing a log entry and storing the record: the
	 * entry at the head may be ours, see vhdx_log_recover().
	 */
	bool log_unsure;

	struct vhdx *parent;		/* NULL: reads as zeros */
	struct vhdx *child;		/* while the chain is opened */
	char *parent_path;

	/* vhdx_release.c */
	struct vhdx_epoch *epochs[2];
	unsigned epoch;			/* the one new I/O is counted in */
	uint64_t release_known;		/* what is cached is not older */
	bool no_holes;			/* the file system has none */
	struct vhdx_released *released;	/* VHDX_MAX_RELEASED, or NULL */

	/* vhdx_child.c */
	struct vhdx_fill *fills;	/* VHDX_MAX_FILLS, or NULL */
	uint64_t last_want;

	struct vhdx_mark stable;	/* by the last flush of ours */
	NTSTATUS flush_error;		/* that the user does not know of */
	uint64_t stream_next;		/* behind the last block allocated */
	uint64_t stream_length;		/* so many, one after the other */
	struct vhdx_sync *sync;
	struct vhdx_alloc_queue *alloc_queue;
};

/* vhdx_file.c: the storage, complete or not at all */

NTSTATUS vhdx_errno_status(int err);
/* Exactly length bytes; beyond the end is NT_STATUS_END_OF_FILE */
NTSTATUS vhdx_file_read(struct vhdx_storage *storage, void *buf,
			size_t length, uint64_t offset);
NTSTATUS vhdx_file_write(struct vhdx_storage *storage, const void *buf,
			 size_t length, uint64_t offset);
NTSTATUS vhdx_file_flush(struct vhdx_storage *storage);
/* For a storage that has fsync_range */
NTSTATUS vhdx_file_flush_range(struct vhdx_storage *storage, uint64_t offset,
			       uint64_t length);
NTSTATUS vhdx_file_resize(struct vhdx_storage *storage, uint64_t size);
NTSTATUS vhdx_file_size(struct vhdx_storage *storage, uint64_t *size);
/* Give space back; NT_STATUS_NOT_SUPPORTED where there are no holes. */
NTSTATUS vhdx_file_punch(struct vhdx_storage *storage, uint64_t offset,
			 uint64_t length);
/* Is there anything but a hole? *length is cut to what that is true of. */
bool vhdx_file_has_data(const struct vhdx_storage *storage, uint64_t offset,
			uint64_t *length);
/* Is there nothing but zeros? *buf* is VHDX_MIB of memory to read it to. */
NTSTATUS vhdx_file_is_zero(struct vhdx_storage *storage, uint8_t *buf,
			   uint64_t offset, uint64_t length, bool *is_zero);
/* Zeros in the file, giving the space back where give_back and possible. */
NTSTATUS vhdx_file_zero(struct vhdx_storage *storage, uint64_t offset,
			uint64_t length, bool give_back);

/* vhdx_crc.c */

/* Start and go on with crc = 0, as with crc32() of zlib. */
uint32_t vhdx_crc32c(uint32_t crc, const void *buf, size_t length);
/* Of a structure whose 4 bytes at checksum_offset count as zero */
uint32_t vhdx_checksum(const uint8_t *buf, size_t length,
		       size_t checksum_offset);
void vhdx_checksum_push(uint8_t *buf, size_t length, size_t checksum_offset);

/* vhdx_guid.c */

struct GUID vhdx_guid_pull(const uint8_t *buf);
void vhdx_guid_push(uint8_t *buf, const struct GUID *guid);

/* vhdx_findings.c */

/* field and rule are copied; structure is a constant */
void vhdx_find(struct vhdx_findings *findings, bool is_error,
	       const char *structure, const char *field,
	       const char *rule, ...) PRINTF_ATTRIBUTE(5, 6);
char *vhdx_findings_reason(TALLOC_CTX *mem_ctx,
			   const struct vhdx_findings *findings);

/* vhdx_header.c */

NTSTATUS vhdx_file_identifier_load(struct vhdx *image,
				   struct vhdx_findings *findings);
NTSTATUS vhdx_header_load(struct vhdx *image, struct vhdx_findings *findings);
void vhdx_header_push(uint8_t buf[VHDX_HEADER_SIZE],
		      const struct vhdx_header *header);
/*
 * Write the header copy that is not header_copy from the state, with the next
 * sequence number; see vhdx_alloc.c for when the other one may be next.
 */
NTSTATUS vhdx_header_write(struct vhdx *image, struct vhdx_state *state);
/* Both copies, each flushed: MS-VHDX 2.2.2.1 in one go. */
NTSTATUS vhdx_header_write_both(struct vhdx *image, struct vhdx_state *state);

/* The copy that is not valid, if the other one is */
bool vhdx_header_bad_copy(struct vhdx *image, unsigned *copy);

/* vhdx_region.c */

NTSTATUS vhdx_region_load(struct vhdx *image, struct vhdx_findings *findings);
/* The BAT is elsewhere now. */
void vhdx_region_move_bat(struct vhdx *image, uint64_t offset,
			  uint64_t length);
/*
 * A copy of the region table as the file has it, which must be valid, with
 * another place for the BAT
 */
NTSTATUS vhdx_region_table_move_bat(struct vhdx *image, unsigned copy,
				    uint64_t offset, uint64_t length,
				    uint8_t buf[VHDX_REGION_TABLE_SIZE]);
/* Where the last structure ends that is not a block */
uint64_t vhdx_region_end(const struct vhdx *image);
/*
 * Write the copy of the region table that is not valid again from the other
 * one, flushed; NT_STATUS_NOT_FOUND if that is not how it is.
 */
NTSTATUS vhdx_region_restore(struct vhdx *image, unsigned *copy);
/* The structure that has bytes of the range, or NULL */
const char *vhdx_region_overlap(const struct vhdx *image, uint64_t offset,
				uint64_t length);

/* vhdx_metadata.c */

NTSTATUS vhdx_metadata_load(struct vhdx *image,
			    struct vhdx_findings *findings);
/*
 * Another content for an item, which gets another place in the region; and no
 * such item any more. NT_STATUS_NOT_FOUND: there is none. NT_STATUS_RETRY: the
 * change cannot have so much.
 */
struct vhdx_change;
NTSTATUS vhdx_metadata_replace(struct vhdx *image, struct vhdx_change *change,
			       const struct GUID *id, const uint8_t *data,
			       uint32_t length, struct vhdx_range *place);
NTSTATUS vhdx_metadata_remove(struct vhdx *image, struct vhdx_change *change,
			      const struct GUID *id);

/* vhdx_space.c: who has which MiB of the file */

struct vhdx_space;

/* Knows [base, base + length); what is taken elsewhere is not looked at. */
struct vhdx_space *vhdx_space_new(TALLOC_CTX *mem_ctx, uint64_t base,
				  uint64_t length);
/* False if somebody has a part of it already; it is taken in any case. */
bool vhdx_space_take(struct vhdx_space *space, uint64_t offset,
		     uint64_t length);
/*
 * The first hole of so many bytes; goes on where the last call has ended, so
 * what is behind a hole that was too small is not looked at again.
 */
bool vhdx_space_find(struct vhdx_space *space, uint64_t length,
		     uint64_t *offset);
/* Bytes that nobody took */
uint64_t vhdx_space_free(const struct vhdx_space *space);
/* The next of those from *offset on; false: none */
bool vhdx_space_next_free(const struct vhdx_space *space, uint64_t *offset,
			  uint64_t *length);

/* vhdx_bat.c */

/* What a BAT entry comes to. Places in the file are multiples of 1 MiB. */
#define VHDX_PLACE_NONE 0	/* reads as zeros */
#define VHDX_PLACE_BAD 1	/* breaks a rule */
#define VHDX_PLACE_PARENT 2	/* reads as the parent does */
#define VHDX_PLACE_PARTIAL 3	/* added to a place: see the sector bitmap */

/* All of it is there, and nowhere else. */
static inline bool vhdx_place_is_mapped(uint64_t place)
{
	return place != VHDX_PLACE_NONE && (place & 3) == 0;
}

static inline bool vhdx_place_is_partial(uint64_t place)
{
	return place > VHDX_PLACE_PARTIAL && (place & 3) == VHDX_PLACE_PARTIAL;
}

/* The entry of a payload block in the BAT, MS-VHDX 2.5 */
static inline uint64_t vhdx_bat_index(const struct vhdx *image, uint64_t block)
{
	return block + (block >> image->chunk_shift);
}

/* Is the entry, as they are in the table, that of a sector bitmap? */
bool vhdx_bat_is_bitmap(const struct vhdx *image, uint64_t index);
uint64_t vhdx_bat_num_entries(const struct vhdx *image);
NTSTATUS vhdx_bat_init(struct vhdx *image);
/* Bytes of the block that must be in the file: all, but for the last one */
uint64_t vhdx_bat_block_length(const struct vhdx *image, uint64_t block);
/* Does a place end inside the file, which others may have made larger? */
bool vhdx_bat_inside_file(struct vhdx *image, uint64_t end);
/*
 * The place of an entry. Broken rules go to findings, which may be NULL.
 */
uint64_t vhdx_bat_entry_place(struct vhdx *image, uint64_t block,
			      uint64_t entry, struct vhdx_findings *findings);
/*
 * Where a block is. *known_fresh is the sector of the BAT, if any, that was
 * read in this call of vhdx_map(), UINT64_MAX at first: entries that are not
 * mapped are only believed from there.
 */
NTSTATUS vhdx_bat_place(struct vhdx *image, uint64_t block,
			uint64_t *known_fresh, uint64_t *place);
/* The sector of the BAT (an index) as it is in the file now */
NTSTATUS vhdx_bat_sector_read(struct vhdx *image, uint64_t sector,
			      uint8_t buf[VHDX_SECTOR_SIZE]);
/* A sector has changed: keep what is cached of it right. */
void vhdx_bat_sector_changed(struct vhdx *image, uint64_t sector,
			     const uint8_t buf[VHDX_SECTOR_SIZE]);
void vhdx_bat_forget(struct vhdx *image);
/*
 * Every rule of one entry, whatever it is about; index counts the entries as
 * they are in the table. Blocks are taken from space.
 */
void vhdx_bat_entry_check(struct vhdx *image, uint64_t index, uint64_t entry,
			  struct vhdx_space *space,
			  struct vhdx_findings *findings);
/* Check the whole table, and find used_end, when that is cheap. */
NTSTATUS vhdx_bat_load(struct vhdx *image, struct vhdx_findings *findings);

/* vhdx_bitmap.c: PARTIALLY_PRESENT blocks (MS-VHDX 2.4) */

/*
 * The place of the sector bitmap of a chunk, from its entry in the BAT.
 * Broken rules go to findings, which may be NULL.
 */
uint64_t vhdx_bitmap_entry_place(struct vhdx *image, uint64_t chunk,
				 uint64_t entry,
				 struct vhdx_findings *findings);
/* The same as it is in the file now, VHDX_PLACE_NONE when there is none */
NTSTATUS vhdx_bitmap_place(struct vhdx *image, uint64_t chunk,
			   uint64_t *place);
/* In its block: where the bit of a sector is, which is one of a chunk's */
static inline uint64_t vhdx_bitmap_bit(const struct vhdx *image,
				       uint64_t offset)
{
	return offset / image->geometry.logical_sector_size %
	       VHDX_SECTORS_PER_BITMAP;
}
/* The entry in the BAT of the sector bitmap of a chunk, which it follows */
static inline uint64_t vhdx_bitmap_index(const struct vhdx *image,
					 uint64_t chunk)
{
	return (chunk + 1) * ((UINT64_C(1) << image->chunk_shift) + 1) - 1;
}
/* The run that starts at an offset in a block, which is at *place* */
NTSTATUS vhdx_bitmap_map(struct vhdx *image, uint64_t block,
			 uint64_t in_block, uint64_t length, uint64_t place,
			 struct vhdx_extent *extent);

/* vhdx_parent.c: differencing images (MS-VHDX 2.6.2.6) */

struct vhdx_locator {
	struct GUID linkage;
	struct GUID linkage2;		/* all zero: none */
	char *relative_path;		/* as it is in the file; or NULL */
};

NTSTATUS vhdx_locator_load(struct vhdx *image, TALLOC_CTX *mem_ctx,
			   struct vhdx_locator **locator,
			   struct vhdx_findings *findings);
/*
 * A locator with a parent_linkage and a relative_path, which has '/' between
 * its names; NULL when out of memory or too long
 */
uint8_t *vhdx_locator_push(TALLOC_CTX *mem_ctx, const struct GUID *linkage,
			   const char *relative_path, size_t *length);
/* Where a path that is relative to a file leads, or NULL: out of the root */
char *vhdx_path_resolve(TALLOC_CTX *mem_ctx, const char *file,
			const char *relative);
/* The parents of an image that is open but for them */
NTSTATUS vhdx_parents_open(struct vhdx *image, TALLOC_CTX *mem_ctx,
			   const struct vhdx_parents *parents, char **reason);

/* Where the bytes of a run are in the end */
struct vhdx_source {
	struct vhdx_storage *storage;	/* NULL: zeros */
	uint64_t file_offset;
	uint64_t length;
};

/* vhdx_map_write(), but for it a block that is there in part is not there */
NTSTATUS vhdx_map_blocks(struct vhdx *image, uint64_t offset, uint64_t length,
			 struct vhdx_extent *extent);
/* vhdx_map() through all parents */
NTSTATUS vhdx_source_find(struct vhdx *image, uint64_t offset,
			  uint64_t length, struct vhdx_source *source);
/* The same as if nothing was in the image itself; takes no lock */
NTSTATUS vhdx_parent_source(struct vhdx *image, uint64_t offset,
			    uint64_t length, struct vhdx_source *source);

/*
 * Make other DataWriteGuids those of the parent; linkage2 may be NULL. What
 * else the locator says stays as it is. Stable when it returns.
 */
NTSTATUS vhdx_locator_relink(struct vhdx *image, const struct GUID *linkage,
			     const struct GUID *linkage2);

/* vhdx_change.c: metadata that changes together; nobody else has the image */

/*
 * at_once: none of it before all of it is stable, and all of it after a power
 * cut or nothing; without, any mix of old and new sectors must do
 */
struct vhdx_change *vhdx_change_new(struct vhdx *image, bool at_once);
/* Bytes of the file; NT_STATUS_RETRY: no room for more before a run */
NTSTATUS vhdx_change_put(struct vhdx_change *change, uint64_t offset,
			 const void *buf, size_t length);
/* Do it. The change is empty then, and can be used again. */
NTSTATUS vhdx_change_run(struct vhdx_change *change);

enum vhdx_bat_entries {
	VHDX_BAT_PAYLOAD,
	VHDX_BAT_BITMAPS,	/* and what is behind the last block */
};
/* Make entries of the BAT 0, in any order, flushed. */
NTSTATUS vhdx_bat_clear(struct vhdx *image, enum vhdx_bat_entries which);

/* vhdx_log.c */

/* One 4 KiB sector that a log entry changes */
struct vhdx_log_update {
	uint64_t file_offset;
	uint8_t *sector;
};

/*
 * Find the active sequence of the log that the header names, and make
 * vhdx_metadata_read() see the file as it is after its replay.
 */
NTSTATUS vhdx_log_load(struct vhdx *image, struct vhdx_findings *findings);
/* Write what vhdx_log_load() found to where it belongs; nothing flushed. */
NTSTATUS vhdx_log_replay(struct vhdx *image);
size_t vhdx_log_num_entries(const struct vhdx *image);
/* LastFileOffset of the active sequence, 0 without one */
uint64_t vhdx_log_last_file_offset(const struct vhdx *image);
/* Does a log that is not replayed in the file write into the range? */
bool vhdx_log_covers(const struct vhdx *image, uint64_t offset,
		     uint64_t length);
/* vhdx_file_read() of metadata, through the log when it is not replayed */
NTSTATUS vhdx_metadata_read(struct vhdx *image, void *buf, size_t length,
			    uint64_t offset);
/* The first entry of a session, empty, at the start of the log */
NTSTATUS vhdx_log_start(struct vhdx *image, struct vhdx_state *state);
/* How many updates one entry may have, so that the log can never be stuck */
size_t vhdx_log_max_updates(const struct vhdx *image);
/* Is there room for an entry; NT_STATUS_RETRY: after a flush */
NTSTATUS vhdx_log_make_room(struct vhdx *image, struct vhdx_state *state,
			    size_t num_updates, bool *changed);
/* And put it in place; flush_first: when the entry is stable */
NTSTATUS vhdx_log_append(struct vhdx *image, struct vhdx_state *state,
			 const struct vhdx_log_update *updates,
			 size_t num_updates, bool flush_first);
/* More than half of the log waits for a flush. */
bool vhdx_log_wants_flush(const struct vhdx *image,
			  const struct vhdx_state *state);
/* Finish what a process that died under the lock has begun. */
NTSTATUS vhdx_log_recover(struct vhdx *image, struct vhdx_state *state,
			  bool *changed);

/* vhdx_shared.c */

typedef NTSTATUS (*vhdx_state_fn)(struct vhdx *image,
				  struct vhdx_state *state, bool *changed,
				  void *private_data);
/*
 * Run fn under the lock of the record. The state is stored when *changed,
 * also when fn failed: fn changes it only after the file. An error to store
 * wins.
 */
NTSTATUS vhdx_state_locked(struct vhdx *image, vhdx_state_fn fn,
			   void *private_data);
/* Store what the state is now, in the midst of such an fn. */
NTSTATUS vhdx_state_store(struct vhdx *image, struct vhdx_state *state);
/* A copy of the state, without lock */
NTSTATUS vhdx_state_peek(struct vhdx *image, struct vhdx_mark *mark,
			 struct vhdx_shape *shape);
NTSTATUS vhdx_state_refresh_slow(struct vhdx *image, int seqnum);
bool vhdx_state_has_writer(struct vhdx *image, const struct vhdx_state *state);
NTSTATUS vhdx_state_join(struct vhdx *image, struct vhdx_state *state);
bool vhdx_state_is_user(struct vhdx *image, const struct vhdx_state *state);
/* Our entry among the users, or NULL */
struct vhdx_user *vhdx_state_self(struct vhdx *image,
				  struct vhdx_state *state);
bool vhdx_user_is_alive(struct vhdx *image, const struct vhdx_user *user);
/* May do nothing */
void vhdx_user_ask(struct vhdx *image, const struct vhdx_user *user);
void vhdx_state_leave(struct vhdx *image, struct vhdx_state *state);
bool vhdx_state_is_shared(const struct vhdx *image,
			  const struct vhdx_state *state);
/* The number that changes with the record, or 0 */
int vhdx_shared_seqnum(struct vhdx_shared *shared);

/* Notice what others did, before anything cached is used. */
static inline NTSTATUS vhdx_state_refresh(struct vhdx *image)
{
	int seqnum;

	if (image->shared == NULL) {
		return NT_STATUS_OK;
	}
	seqnum = vhdx_shared_seqnum(image->shared);
	if (seqnum != 0 && seqnum == image->seqnum) {
		return NT_STATUS_OK;
	}
	return vhdx_state_refresh_slow(image, seqnum);
}

/* vhdx_flush.c: one flush for all who wait for one */

/* Put what our last flush made stable into the state; under the lock. */
void vhdx_mark_apply(struct vhdx *image, struct vhdx_state *state,
		     bool *changed);
/* Each is as good as those before it. */
enum vhdx_sync_kind {
	VHDX_SYNC_METADATA,	/* log, BAT, headers and the size of the file */
	VHDX_SYNC_ALL,
	VHDX_SYNC_USER,		/* told of errors that were before, too */
};
struct tevent_req *vhdx_sync_send(TALLOC_CTX *mem_ctx,
				  struct tevent_context *ev,
				  struct vhdx *image,
				  enum vhdx_sync_kind kind);
NTSTATUS vhdx_sync_recv(struct tevent_req *req);
NTSTATUS vhdx_sync(struct vhdx *image, enum vhdx_sync_kind kind);

/* vhdx_alloc.c */

/*
 * Begin a session: the state of the first writer, under the lock. After a
 * crash, what was reserved in the file is given back; keep_end is then the
 * LastFileOffset of the log that was replayed, and 0 where there was none.
 */
NTSTATUS vhdx_session_start(struct vhdx *image, struct vhdx_state *state,
			    uint64_t keep_end);
/* End it: the last writer leaves, under the lock. */
NTSTATUS vhdx_session_end(struct vhdx *image, struct vhdx_state *state);
/* What is to become of a range */
enum vhdx_want_kind {
	VHDX_WANT_PLACE,	/* all of it is in the file */
	VHDX_WANT_STATE_ZERO,	/* blocks with no place read as zeros */
	/* In one block of a child: */
	VHDX_WANT_DATA,		/* reads as what is in buf */
	VHDX_WANT_ZEROS,	/* reads as zeros */
};

struct vhdx_want {
	struct vhdx_want *prev, *next;
	enum vhdx_want_kind kind;
	uint64_t offset;	/* done up to here ... */
	uint64_t reached;	/* ... and when the step succeeds, to here */
	uint64_t end;
	const uint8_t *buf;	/* what is to be at start */
	uint64_t start;
	uint64_t id;		/* in fills, 0: none yet */
	unsigned num_waits;
	bool missed;		/* there is a place now: write it yourself */
};

/*
 * Make a range writable: the session has begun and, unless length is 0,
 * every block of the range is in the file.
 */
struct tevent_req *vhdx_alloc_send(TALLOC_CTX *mem_ctx,
				   struct tevent_context *ev,
				   struct vhdx *image, uint64_t offset,
				   uint64_t length);
NTSTATUS vhdx_alloc_recv(struct tevent_req *req);
/*
 * Write into a run of VHDX_EXTENT_PARENT; buf stays until it is done. Not
 * *done: another was faster, and vhdx_map_write() now tells something else.
 */
struct tevent_req *vhdx_alloc_data_send(TALLOC_CTX *mem_ctx,
					struct tevent_context *ev,
					struct vhdx *image, const void *buf,
					uint64_t offset, uint64_t length);
NTSTATUS vhdx_alloc_data_recv(struct tevent_req *req, bool *done);
NTSTATUS vhdx_alloc(struct vhdx *image, uint64_t offset, uint64_t length);
NTSTATUS vhdx_alloc_want(struct vhdx *image, struct vhdx_want *want);

/* What one log entry is going to change */
struct vhdx_batch {
	struct vhdx_log_update *updates;
	bool *dirty;
	size_t num;
	size_t max;
	uint64_t next_free;
	bool need_space;
	bool has_taken;		/* a block has got a place */

	/* vhdx_child.c */
	struct vhdx_fill *fills;	/* the list as it will be */
	uint32_t num_fills;
	struct vhdx_put *puts;		/* what is written after that */
	uint64_t put_length;
};

/*
 * A sector of the file, read once for the whole batch; who changes it sets
 * batch->dirty[*slot]. NT_STATUS_RETRY: no room for another one.
 */
NTSTATUS vhdx_batch_sector(struct vhdx *image, struct vhdx_batch *batch,
			   uint64_t file_offset, size_t *slot);
/* Space for a block; NT_STATUS_RETRY: there has to be more of it first. */
NTSTATUS vhdx_batch_take(struct vhdx *image, struct vhdx_state *state,
			 struct vhdx_batch *batch, uint64_t length,
			 uint64_t *place);

/* vhdx_child.c: blocks of a child that come into the file */

/* Do the parents have anything but zeros for the range? */
NTSTATUS vhdx_child_has_data(struct vhdx *image, uint64_t offset,
			     uint64_t length, bool *yes);
/*
 * What a want needs of one block, up to end. NT_STATUS_PENDING: it is on its
 * way, come again after a flush.
 */
NTSTATUS vhdx_child_serve(struct vhdx *image, struct vhdx_state *state,
			  struct vhdx_batch *batch, struct vhdx_want *want,
			  uint64_t offset, uint64_t end);
/* A block is ZERO from now on: its space can be given back. */
NTSTATUS vhdx_child_leave(struct vhdx *image, struct vhdx_batch *batch,
			  const struct vhdx_want *want, uint64_t block,
			  uint64_t place);
/* Before the first, and when the log entry is written */
bool vhdx_child_begin(struct vhdx *image, const struct vhdx_state *state,
		      struct vhdx_batch *batch);
NTSTATUS vhdx_child_end(struct vhdx *image, struct vhdx_state *state,
			struct vhdx_batch *batch,
			const struct vhdx_want *wants, bool *changed);
/*
 * Make what begins in a block that is not all there read as zeros: so much, as
 * *length is then. Not *done: there is something in the file now.
 */
NTSTATUS vhdx_child_zero(struct vhdx *image, uint64_t offset,
			 uint64_t *length, bool *done);
/*
 * What comes before any change, under the lock: the session has begun and the
 * log is in use. NT_STATUS_RETRY: store the state, flush, and come again.
 */
NTSTATUS vhdx_session_prepare(struct vhdx *image, struct vhdx_state *state,
			      bool *changed);
/* The file has so much more than is used; after a flush it can be used. */
NTSTATUS vhdx_space_grow(struct vhdx *image, struct vhdx_state *state,
			 uint64_t want, bool *changed);
/* Space at the end that is the caller's, for good; NT_STATUS_RETRY as above */
NTSTATUS vhdx_space_reserve(struct vhdx *image, struct vhdx_state *state,
			    uint64_t length, uint64_t *offset, bool *changed);

/* What comes first under the lock, whatever is done there by a writer */
NTSTATUS vhdx_step_begin(struct vhdx *image, struct vhdx_state *state,
			 bool *changed);

/* vhdx_release.c: blocks that lose their places */

NTSTATUS vhdx_release_init(struct vhdx *image);
/* All whole blocks of a range that is zeros in the file already */
NTSTATUS vhdx_release(struct vhdx *image, uint64_t offset, uint64_t length);
/* Tell that our I/O has seen what was released. */
void vhdx_release_ack(struct vhdx *image, struct vhdx_state *state,
		      bool *changed);
/* Make zeros of what nobody has I/O under way to. */
void vhdx_release_clean(struct vhdx *image, struct vhdx_state *state,
			bool *changed);
/* Is there something to do for that? Takes nobody for dead. */
bool vhdx_release_can_clean(const struct vhdx_state *state);
/* The place of a block, if one can be used again now */
bool vhdx_release_take(struct vhdx *image, struct vhdx_state *state,
		       uint64_t *place);
/* Can one be after a flush, or now? */
bool vhdx_release_is_near(const struct vhdx_state *state);
/* After a flush only */
bool vhdx_release_wants_flush(const struct vhdx_state *state);
/* A block has this place. */
void vhdx_release_forget(struct vhdx *image, struct vhdx_state *state,
			 uint64_t place);
/* Who was releasing has died, and the log is in place. */
void vhdx_release_settle(struct vhdx *image, struct vhdx_state *state,
			 bool *changed);
/* What of the file belongs to nothing when a session begins */
NTSTATUS vhdx_release_start(struct vhdx *image, struct vhdx_state *state);
/* ... and when it has ended: move next_free, where that is at the end. */
void vhdx_release_end(struct vhdx *image, struct vhdx_state *state);
/* Is I/O under way that was counted? */
bool vhdx_release_has_io(const struct vhdx *image);

/* vhdx_resize.c */

struct vhdx_shape vhdx_state_shape(const struct vhdx_state *state);
/* See the image as the state has it, if that has changed. */
NTSTATUS vhdx_shape_follow(struct vhdx *image, const struct vhdx_shape *shape);
/* See it as it is in the file, where no state says so. */
NTSTATUS vhdx_shape_reload(struct vhdx *image);
/* Tell the others how we see it: a new map generation */
void vhdx_shape_publish(struct vhdx *image, struct vhdx_state *state);

/* vhdx_open.c */

/* vhdx_open_chain() for the parent of *child*, which is NULL at first */
NTSTATUS vhdx_open_image(TALLOC_CTX *mem_ctx, struct vhdx_storage *storage,
			 struct vhdx_shared *shared, uint32_t flags,
			 const struct vhdx_parents *parents,
			 struct vhdx *child, struct vhdx **image,
			 char **reason);
/* Not 0, and not seen before */
uint64_t vhdx_unique_number(void);
/* Everything but the BAT's entries and the users; changes nothing. */
NTSTATUS vhdx_load(struct vhdx *image, bool with_log,
		   struct vhdx_findings *findings);
/* Replay the log in the file; the state has the headers as they are. */
NTSTATUS vhdx_log_empty(struct vhdx *image, struct vhdx_state *state);
bool vhdx_range_is_valid(const struct vhdx *image, uint64_t offset,
			 uint64_t length);

#endif /* _VHDX_PRIVATE_H_ */
