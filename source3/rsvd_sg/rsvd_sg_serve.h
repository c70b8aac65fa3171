/*
 * vfs_rsvd: the commands of preloaded libraries, on attached disks
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _RSVD_SG_SERVE_H_
#define _RSVD_SG_SERVE_H_

#include <talloc.h>
#include <tevent.h>
#include "source3/librsvd/librsvd.h"

/** One path: an initiator of a disk, with a connection of its own. */
struct rsvd_sg_path {
	const char *name;
	struct librsvd_conn *conn;
	struct librsvd_disk *disk;
};

/**
 * Take one command from a connection, execute it and send the answer. BUSY
 * and TASK SET FULL are not answered but tried again for a while, as the
 * kernel's SCSI midlayer does.
 *
 * @param[in]  fd  ours from now on, and closed with the request
 */
struct tevent_req *rsvd_sg_serve_send(TALLOC_CTX *mem_ctx,
				      struct tevent_context *ev,
				      const struct rsvd_sg_path *paths,
				      size_t num_paths, int fd);
int rsvd_sg_serve_recv(struct tevent_req *req);

#endif /* _RSVD_SG_SERVE_H_ */
