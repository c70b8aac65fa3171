/*
 * rsvdctl: what its files share
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _RSVDCTL_H_
#define _RSVDCTL_H_

#include "includes.h"
#include "lib/cmdline/cmdline.h"
#include "source3/librsvd/librsvd.h"
#include <jansson.h>
#include <popt.h>

/* Exit codes; those of "check" are qemu-img's. */
#define RSVDCTL_OK 0
#define RSVDCTL_FAILED 1
#define RSVDCTL_CHECK_ERRORS 2
#define RSVDCTL_CHECK_LEAKS 3
#define RSVDCTL_SCSI_STATUS 2
#define RSVDCTL_RESERVATION_CONFLICT 4

struct rsvdctl_progress;

struct rsvdctl {
	TALLOC_CTX *mem_ctx;
	poptContext pc;
	const char *command;
	int json;		/* --json */
	struct rsvdctl_progress *progress;	/* NULL: none is shown */
};

struct rsvdctl_command {
	const char *name;
	const char *args;	/* for --help */
	const char *summary;
	struct poptOption *options;	/* of its own */
	bool remote;		/* takes credentials and the like */
	bool server;		/* looks into smbd's databases */
	int (*run)(struct rsvdctl *ctl);
};

extern struct rsvdctl_command rsvdctl_create;
extern struct rsvdctl_command rsvdctl_check;
extern struct rsvdctl_command rsvdctl_info;
extern struct rsvdctl_command rsvdctl_read;
extern struct rsvdctl_command rsvdctl_write;
extern struct rsvdctl_command rsvdctl_scsi;
extern struct rsvdctl_command rsvdctl_reservations;
extern struct rsvdctl_command rsvdctl_bench;
extern struct rsvdctl_command rsvdctl_map;
extern struct rsvdctl_command rsvdctl_resize;
extern struct rsvdctl_command rsvdctl_compact;
extern struct rsvdctl_command rsvdctl_merge;
extern struct rsvdctl_command rsvdctl_flatten;
extern struct rsvdctl_command rsvdctl_convert;
extern struct rsvdctl_command rsvdctl_status;
extern struct rsvdctl_command rsvdctl_forget;

/* The --json of this and that command. */
extern int rsvdctl_opt_json;
#define RSVDCTL_OPTION_JSON { \
	.longName = "json", \
	.argInfo = POPT_ARG_NONE, \
	.arg = &rsvdctl_opt_json, \
	.descrip = "Print JSON", \
}

/**
 * Say what failed, and return RSVDCTL_FAILED.
 *
 *     rsvdctl info: cannot open //srv/share/a.vhdx: NT_STATUS_ACCESS_DENIED
 */
int rsvdctl_error(struct rsvdctl *ctl, const char *fmt, ...)
	PRINTF_ATTRIBUTE(2, 3);

/** The same, followed by the name of *status*. */
int rsvdctl_nterror(struct rsvdctl *ctl, NTSTATUS status, const char *fmt, ...)
	PRINTF_ATTRIBUTE(3, 4);

/** "The arguments are wrong", with the usage of the command. */
int rsvdctl_usage(struct rsvdctl *ctl, const char *fmt, ...)
	PRINTF_ATTRIBUTE(2, 3);

/**
 * Parse a size: "512", "64K", "10G", "1T", "10GiB"; powers of 1024.
 *
 * @param[in]  text  NULL leaves *size* as it is
 * @return false when it is no size; the error has been printed
 */
bool rsvdctl_size(struct rsvdctl *ctl, const char *what, const char *text,
		  uint64_t *size);

/** Parse hex, with or without spaces and 0x; an error has been printed. */
bool rsvdctl_hex(struct rsvdctl *ctl, const char *what, const char *text,
		 DATA_BLOB *blob);

/** "10 GiB", "1.5 MiB", "512 bytes" */
char *rsvdctl_size_string(TALLOC_CTX *mem_ctx, uint64_t size);

/**
 * *text*, or where it is no UTF-8, which JSON has to be, something like it:
 * names of files are any bytes.
 */
const char *rsvdctl_utf8(TALLOC_CTX *mem_ctx, const char *text);

/** *text* without what a terminal takes for more than text. */
const char *rsvdctl_printable(TALLOC_CTX *mem_ctx, const char *text);

/** Print and free *json*. */
int rsvdctl_print_json(struct rsvdctl *ctl, json_t *json);

/** Is the target on a server: //server/share/path or with backslashes? */
bool rsvdctl_is_remote(const char *target);

/** The target is a file here; else the error has been printed. */
bool rsvdctl_is_local(struct rsvdctl *ctl, const char *target);

/** "dynamic" (also NULL) or "fixed"; the error has been printed. */
bool rsvdctl_type(struct rsvdctl *ctl, const char *text, bool *fixed);

/*
 * What "convert" reads. The functions print the error themselves.
 */
struct rsvdctl_source {
	struct rsvdctl *ctl;
	const char *name;
	uint64_t size;
	uint32_t sector_size;
	/* The run that starts at offset: what has no data reads as zeros. */
	bool (*run)(struct rsvdctl_source *source, uint64_t offset,
		    uint64_t *length, bool *has_data);
	bool (*read)(struct rsvdctl_source *source, void *buf, size_t length,
		     uint64_t offset);
	void *private_data;
};

/** Open source->name, a VHD, and its parents. */
bool rsvdctl_vhd_open(struct rsvdctl_source *source);

/*
 * A disk that can be read and written, in a local file or on a server.
 */
struct rsvdctl_disk;

struct rsvdctl_disk_ops {
	NTSTATUS (*read)(struct rsvdctl_disk *disk, void *buf, size_t length,
			 uint64_t offset);
	NTSTATUS (*write)(struct rsvdctl_disk *disk, const void *buf,
			  size_t length, uint64_t offset);
	NTSTATUS (*flush)(struct rsvdctl_disk *disk);
	NTSTATUS (*close)(struct rsvdctl_disk *disk);
	/* Somebody waits for us to close it; NULL: nobody has to. */
	bool (*is_wanted)(struct rsvdctl_disk *disk);
	/* Say that *what* failed; returns RSVDCTL_FAILED. */
	int (*error)(struct rsvdctl_disk *disk, NTSTATUS status,
		     const char *what);
};

struct rsvdctl_disk {
	const struct rsvdctl_disk_ops *ops;
	struct rsvdctl *ctl;
	const char *name;
	uint64_t size;
	uint32_t sector_size;
	void *private_data;
};

/** Both print the error themselves and return NULL then. */
struct rsvdctl_disk *rsvdctl_local_open(struct rsvdctl *ctl, const char *path,
					bool writable);
struct rsvdctl_disk *rsvdctl_remote_open(struct rsvdctl *ctl, const char *unc,
					 bool writable);

/*
 * Local images
 */

int rsvdctl_local_info(struct rsvdctl *ctl, const char *path);

/**
 * Open the file of an image, and if it is to be written to, alone.
 *
 * @return NULL when that failed; the error has been printed
 */
struct vhdx_storage;
struct vhdx_storage *rsvdctl_local_storage(struct rsvdctl *ctl,
					   const char *path, bool writable);

/** Something that takes long with the file of an image */
struct rsvdctl_working {
	struct rsvdctl *ctl;
	struct vhdx_storage *storage;
};

/**
 * A vhdx_progress_fn with a struct rsvdctl_working: shows how far it is, and
 * ends it when somebody wants to open the file, who waits for us.
 */
bool rsvdctl_go_on(uint64_t done, uint64_t total, void *private_data);

/** Say that it was ended so. */
int rsvdctl_wanted(struct rsvdctl *ctl, const char *path);

/**
 * Make the file of a new image, which must not be there yet. Until
 * rsvdctl_create_end() it is removed when a signal ends us.
 *
 * @return NULL when that failed; the error has been printed
 */
struct vhdx_storage *rsvdctl_create_begin(struct rsvdctl *ctl,
					  const char *path);

/** The image is complete; or it is not, and is removed. */
void rsvdctl_create_end(const char *path, bool complete);

/**
 * vhdx_resize() of a local image that nobody else uses, which gives back what
 * is at the end of the file then.
 *
 * @param[in]  size  NULL: the smallest safe one
 * @param[in]  more  *size* is how much larger it is to be
 * @return false when it could not be opened; the error has been printed
 */
bool rsvdctl_local_resize(struct rsvdctl *ctl, const char *path,
			  uint32_t flags, const uint64_t *size, bool more,
			  NTSTATUS *status);

/** Open one for reading; the error has been printed when this is NULL. */
struct vhdx;
struct vhdx *rsvdctl_local_vhdx(struct rsvdctl *ctl, const char *path);

/**
 * The same of one that nobody writes, as far as it can be told: leases are
 * for the owner of a file, and root, and not on every file system.
 */
struct vhdx *rsvdctl_local_vhdx_unwritten(struct rsvdctl *ctl,
					  const char *path);

/*
 * Remote disks
 */

/** Options that say how to attach: port, initiator, protocol version. */
extern struct poptOption rsvdctl_remote_options[];
#define RSVDCTL_OPTION_REMOTE { \
	.argInfo = POPT_ARG_INCLUDE_TABLE, \
	.arg = rsvdctl_remote_options, \
	.descrip = "Remote disk options:", \
}

struct rsvdctl_attach {
	const char *unc;
	struct tevent_context *ev;	/* of the connection */
	struct librsvd_conn *conn;
	struct librsvd_disk *disk;
};

/**
 * Connect and open //server/share/path, as the options say.
 *
 * @return NULL when that failed; the error has been printed
 */
struct rsvdctl_attach *rsvdctl_remote_attach(struct rsvdctl *ctl,
					     const char *unc, bool writable);

/**
 * Say what failed on a disk, with the sense when the server has stored one.
 */
int rsvdctl_remote_error(struct rsvdctl *ctl, struct librsvd_disk *disk,
			 NTSTATUS status, const char *what, const char *unc);

int rsvdctl_remote_info(struct rsvdctl *ctl, const char *unc);

/**
 * Execute a SCSI command as an initiator does: again after a unit attention,
 * which is told on stderr, and after a while when the disk is busy.
 *
 * @param[out] result  a child of ctl->mem_ctx; the command may have failed
 * @return RSVDCTL_FAILED when it was not executed; the error has been printed
 */
int rsvdctl_remote_scsi(struct rsvdctl *ctl, struct rsvdctl_attach *attach,
			const char *what,
			const struct librsvd_scsi_command *command,
			struct librsvd_scsi_result *result);

/**
 * Say how a SCSI command failed, if it did.
 *
 * @return RSVDCTL_OK, RSVDCTL_RESERVATION_CONFLICT or RSVDCTL_SCSI_STATUS
 */
int rsvdctl_scsi_check(struct rsvdctl *ctl,
		       const struct rsvdctl_attach *attach, const char *what,
		       const struct librsvd_scsi_result *result);

/**
 * Tell whether the run that starts at *offset* is allocated, and how long it
 * is: GET LBA STATUS. A server that does not tell has all of it.
 *
 * @param[in]  disk  of rsvdctl_remote_open()
 * @return false when that failed; the error has been printed
 */
bool rsvdctl_remote_run(struct rsvdctl_disk *disk, uint64_t offset,
			uint64_t *length, bool *allocated);

/*
 * Progress
 */

/**
 * Show on a terminal how far something is that takes longer than a second.
 * Nothing is shown anywhere else.
 */
void rsvdctl_progress_start(struct rsvdctl *ctl, const char *what,
			    uint64_t total);

/** So many bytes of the total are done. Cheap: to be called often. */
void rsvdctl_progress_update(struct rsvdctl *ctl, uint64_t done);

/**
 * The same for what ends by time: *total* is what *done* will be by then, if it
 * goes on like this.
 */
void rsvdctl_progress_guess(struct rsvdctl *ctl, uint64_t done, double total);

/**
 * The same for a command that does several things: a vhdx_progress_fn calls it.
 * A bar that is there stays for what comes next.
 */
void rsvdctl_progress_phase(struct rsvdctl *ctl, uint64_t done,
			    uint64_t total);

/** Leave a clean line. An error message does this by itself. */
void rsvdctl_progress_end(struct rsvdctl *ctl);

#endif /* _RSVDCTL_H_ */
