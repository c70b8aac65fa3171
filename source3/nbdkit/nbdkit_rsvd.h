/*
 * nbdkit-rsvd-plugin: a shared virtual disk as an NBD device
 *
 * Two sides: nbdkit's threads, which call the plugin (nbdkit_rsvd.c), and one
 * thread that owns the connection to the server (nbdkit_rsvd_session.c) and
 * turns requests into librsvd's (nbdkit_rsvd_ops.c). talloc, tevent and
 * Samba's libraries are used on that one thread only; what crosses over is
 * struct rsvd_nbd_request.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _NBDKIT_RSVD_H_
#define _NBDKIT_RSVD_H_

#include "replace.h"
#include "source3/librsvd/librsvd.h"
#include <pthread.h>
#include <semaphore.h>

struct rsvd_nbd_params {
	struct librsvd_connect_params connect;
	const char *path;
	const char *host_name;
	struct librsvd_guid initiator_id;
	unsigned int version;
	/* Acknowledge no write before it is on stable storage. */
	bool write_through;
	/* How long a request is held while there is no server. */
	unsigned int reconnect_timeout_sec;
};

/* What the disk is and can; the same for as long as the process lives. */
struct rsvd_nbd_geometry {
	uint64_t size;
	uint32_t sector_size;
	uint32_t physical_sector_size;
	struct librsvd_guid disk_id;
	bool writable;
	bool unmap;		/* LBPU */
	bool write_same_unmap;	/* LBPWS, and what is unmapped reads 0 */
	bool write_same;
	bool no_data_out_buffer; /* NDOB */
	bool lba_status;
	bool zeros_after_unmap;	/* LBPRZ */
	/* In sectors, SBC-3 6.6.3 */
	uint32_t max_unmap;
	uint64_t max_write_same;
};

enum rsvd_nbd_operation {
	RSVD_NBD_READ,
	RSVD_NBD_WRITE,
	RSVD_NBD_FLUSH,
	RSVD_NBD_TRIM,
	RSVD_NBD_ZERO,
	RSVD_NBD_EXTENTS,
};

struct rsvd_nbd_extent {
	uint64_t offset;
	uint64_t length;
	uint32_t type;		/* NBDKIT_EXTENT_* */
};

/* Lives on the stack of one of nbdkit's threads, which waits for it. */
struct rsvd_nbd_request {
	struct rsvd_nbd_request *prev, *next;

	enum rsvd_nbd_operation operation;
	void *buf;
	uint64_t offset;
	uint32_t count;
	uint32_t flags;		/* NBDKIT_FLAG_* */

	int err;		/* an errno that NBD knows, or 0 */
	/* From malloc(); the caller's to free. */
	struct rsvd_nbd_extent *extents;
	size_t num_extents;

	/*
	 * Of its own, for a condition variable needs a mutex, and that of the
	 * session is what the thread that wakes this one holds.
	 */
	sem_t done;
};

/*
 * nbdkit_rsvd_session.c
 */

/**
 * Start the thread, and attach the disk.
 *
 * @return 0, or -1 when it could not be attached; nbdkit_error() was called
 */
int rsvd_nbd_session_start(const struct rsvd_nbd_params *params);

/** Close the disk and end the thread. All requests have to be done. */
void rsvd_nbd_session_stop(void);

const struct rsvd_nbd_geometry *rsvd_nbd_geometry(void);

/** Execute a request, and wait for it: for nbdkit's threads. */
void rsvd_nbd_execute(struct rsvd_nbd_request *request);

/*
 * nbdkit_rsvd_ops.c, on the thread of the session
 */

struct rsvd_nbd_session;

/**
 * Ask the disk what it can.
 *
 * @return the status of the first question that had no answer
 */
struct tevent_req *rsvd_nbd_probe_send(TALLOC_CTX *mem_ctx,
				       struct tevent_context *ev,
				       struct librsvd_disk *disk);
NTSTATUS rsvd_nbd_probe_recv(struct tevent_req *req,
			     struct rsvd_nbd_geometry *geometry);

/**
 * Do what a request says. It may be done again from its start on another
 * connection when this one failed: all of them are idempotent.
 *
 * @param[in]  disk  is looked at before each step: NULL when the connection
 *                   is gone
 * @return 0, or an errno. *lost* says that it did not come to an end because
 *         the connection is gone
 */
struct tevent_req *rsvd_nbd_op_send(TALLOC_CTX *mem_ctx,
				    struct tevent_context *ev,
				    struct librsvd_disk *const *disk,
				    struct rsvd_nbd_geometry *geometry,
				    bool write_through,
				    struct rsvd_nbd_request *request);
int rsvd_nbd_op_recv(struct tevent_req *req, bool *lost);

#endif /* _NBDKIT_RSVD_H_ */
