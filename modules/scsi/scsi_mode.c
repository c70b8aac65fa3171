/*
 * vfs_rsvd: mode parameters
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/scsi/scsi_block.h"

/* PAGE CONTROL field: SPC-4 6.11, MODE SENSE(6) */
#define SCSI_MODE_CURRENT	0
#define SCSI_MODE_CHANGEABLE	1
#define SCSI_MODE_DEFAULT	2
#define SCSI_MODE_SAVED		3

#define SCSI_MODE_ALL_PAGES	0x3f
#define SCSI_MODE_ALL_SUBPAGES	0xff

/* CDB bits */
#define SCSI_MODE_DBD 0x08
#define SCSI_MODE_LLBAA 0x10
#define SCSI_MODE_PF 0x10
#define SCSI_MODE_SP 0x01

/* Device specific parameter: SBC-3, mode parameter header */
#define SCSI_MODE_WP 0x80
#define SCSI_MODE_DPOFUA 0x10

#define SCSI_MODE_MAX_PAGE_LENGTH 20

/* A field that MODE SELECT can change, and the bit of the state for it */
struct scsi_mode_field {
	uint8_t byte;
	uint8_t mask;
	uint8_t value;
};

struct scsi_mode_page {
	uint8_t length;		/* with its header of two bytes */
	/* With all changeable fields zero */
	uint8_t data[SCSI_MODE_MAX_PAGE_LENGTH];
	struct scsi_mode_field fields[3];
};

/* In order of page code; PS is zero, nothing is saved. */
static const struct scsi_mode_page scsi_mode_pages[] = {
	{
		/* SBC-3, Read-Write Error Recovery: AWRE, ARRE */
		.length = 12,
		.data = { 0x01, 0x0a, 0xc0 },
	},
	{
		/* SBC-3, Caching */
		.length = 20,
		.data = { 0x08, 0x12 },
		.fields = {
			{ 2, 0x04, SCSI_MODE_WCE },
		},
	},
	{
		/*
		 * SPC-4, Control: GLTSD; commands may be reordered, as SMB2
		 * requests are. Only one task set or one a nexus can be
		 * chosen for TST.
		 */
		.length = 12,
		.data = { 0x0a, 0x0a, 0x02, 0x10 },
		.fields = {
			{ 2, 0x20, SCSI_MODE_TST },
			{ 2, 0x04, SCSI_MODE_D_SENSE },
			{ 4, 0x08, SCSI_MODE_SWP },
		},
	},
	{
		/* SPC-4, Informational Exceptions Control: DEXCPT */
		.length = 12,
		.data = { 0x1c, 0x0a, 0x08 },
	},
};

static void scsi_mode_page_fill(const struct scsi_mode_page *page,
				uint8_t page_control, uint8_t mode,
				uint8_t buf[SCSI_MODE_MAX_PAGE_LENGTH])
{
	size_t i;

	memcpy(buf, page->data, SCSI_MODE_MAX_PAGE_LENGTH);
	if (page_control == SCSI_MODE_CHANGEABLE) {
		memset(buf + 2, 0, SCSI_MODE_MAX_PAGE_LENGTH - 2);
		mode = 0xff;
	}
	if (page_control == SCSI_MODE_DEFAULT) {
		mode = SCSI_MODE_WCE;
	}

	for (i = 0; i < ARRAY_SIZE(page->fields); i++) {
		const struct scsi_mode_field *f = &page->fields[i];

		if (mode & f->value) {
			buf[f->byte] |= f->mask;
		}
	}
}

/* Returns the length, 8 or with long LBAs 16. */
static size_t scsi_mode_block_descriptor(const struct scsi_disk *disk,
					 bool long_lba, uint8_t buf[16])
{
	uint64_t num_blocks = scsi_num_blocks(disk);

	memset(buf, 0, 16);
	if (long_lba) {
		scsi_put_be64(buf, num_blocks);
		scsi_put_be32(buf + 12, disk->logical_sector_size);
		return 16;
	}
	scsi_put_be32(buf, MIN(num_blocks, UINT32_MAX));
	scsi_put_be24(buf + 5, disk->logical_sector_size);
	return 8;
}

/* SPC-4 6.11, 6.12, MODE SENSE */
void scsi_mode_sense(struct scsi_request *req)
{
	const uint8_t *cdb = req->task->cdb;
	bool is_10 = cdb[0] == 0x5a;
	bool long_lba = is_10 && (cdb[1] & SCSI_MODE_LLBAA);
	uint8_t page_control = cdb[2] >> 6;
	uint8_t page_code = cdb[2] & 0x3f;
	uint8_t subpage = cdb[3];
	uint8_t device_specific = SCSI_MODE_DPOFUA;
	uint8_t descriptor[16];
	size_t descriptor_length = 0;
	uint8_t pages[ARRAY_SIZE(scsi_mode_pages) * SCSI_MODE_MAX_PAGE_LENGTH];
	size_t pages_length = 0;
	struct scsi_data_in in;
	size_t i;

	if (page_control == SCSI_MODE_SAVED) {
		scsi_check_condition(req, SCSI_SENSE_ILLEGAL_REQUEST,
				     SCSI_ASC_SAVING_NOT_SUPPORTED);
		return;
	}
	if (subpage != 0 && subpage != SCSI_MODE_ALL_SUBPAGES) {
		scsi_invalid_field_in_cdb(req, 3, -1);
		return;
	}

	for (i = 0; i < ARRAY_SIZE(scsi_mode_pages); i++) {
		const struct scsi_mode_page *page = &scsi_mode_pages[i];
		uint8_t buf[SCSI_MODE_MAX_PAGE_LENGTH];

		if (page_code != SCSI_MODE_ALL_PAGES &&
		    page_code != page->data[0]) {
			continue;
		}
		scsi_mode_page_fill(page, page_control, req->mode, buf);
		memcpy(pages + pages_length, buf, page->length);
		pages_length += page->length;
	}
	if (pages_length == 0) {
		scsi_invalid_field_in_cdb(req, 2, 5);
		return;
	}

	if ((req->mode & SCSI_MODE_SWP) || !req->nexus->may_write) {
		device_specific |= SCSI_MODE_WP;
	}
	if ((cdb[1] & SCSI_MODE_DBD) == 0) {
		descriptor_length = scsi_mode_block_descriptor(
			req->disk, long_lba, descriptor);
	}

	if (is_10) {
		scsi_data_in_start(req, &in, scsi_get_be16(cdb + 7));
		scsi_data_in_put_be16(&in, 6 + descriptor_length +
				      pages_length);
		scsi_data_in_put_u8(&in, 0);
		scsi_data_in_put_u8(&in, device_specific);
		scsi_data_in_put_u8(&in, long_lba ? 0x01 : 0x00);
		scsi_data_in_put_u8(&in, 0);
		scsi_data_in_put_be16(&in, descriptor_length);
	} else {
		scsi_data_in_start(req, &in, cdb[4]);
		scsi_data_in_put_u8(&in, 3 + descriptor_length +
				    pages_length);
		scsi_data_in_put_u8(&in, 0);
		scsi_data_in_put_u8(&in, device_specific);
		scsi_data_in_put_u8(&in, descriptor_length);
	}
	scsi_data_in_put(&in, descriptor, descriptor_length);
	scsi_data_in_put(&in, pages, pages_length);
	scsi_data_in_end(req, &in);
}

struct scsi_mode_select {
	struct scsi_request *req;
	const uint8_t *pages;
	size_t pages_offset;	/* in the parameter list */
	size_t pages_length;
	bool failed;
	bool cache_went_off;
};

/*
 * Take one page of the list. What cannot be changed must have the value it
 * has, SPC-4 6.9: all of the list is refused else.
 */
static bool scsi_mode_select_page(struct scsi_mode_select *select,
				  size_t done, uint8_t current,
				  uint8_t *mode, size_t *page_length)
{
	struct scsi_request *req = select->req;
	const uint8_t *data = select->pages + done;
	size_t room = select->pages_length - done;
	size_t offset = select->pages_offset + done;
	const struct scsi_mode_page *page = NULL;
	uint8_t now[SCSI_MODE_MAX_PAGE_LENGTH];
	uint8_t changeable[SCSI_MODE_MAX_PAGE_LENGTH];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(scsi_mode_pages); i++) {
		/* PS is reserved here, and often sent back as it came. */
		if (scsi_mode_pages[i].data[0] == (data[0] & 0x7f)) {
			page = &scsi_mode_pages[i];
		}
	}
	if (page == NULL) {
		scsi_invalid_field_in_parameters(req, offset, 5);
		return false;
	}
	if (room < 2) {
		scsi_parameter_list_length_error(req);
		return false;
	}
	if (data[1] != page->length - 2) {
		scsi_invalid_field_in_parameters(req, offset + 1, -1);
		return false;
	}
	if (room < page->length) {
		scsi_parameter_list_length_error(req);
		return false;
	}

	scsi_mode_page_fill(page, SCSI_MODE_CURRENT, current, now);
	scsi_mode_page_fill(page, SCSI_MODE_CHANGEABLE, 0, changeable);
	for (i = 2; i < page->length; i++) {
		if ((data[i] ^ now[i]) & ~changeable[i]) {
			scsi_invalid_field_in_parameters(req, offset + i, -1);
			return false;
		}
	}

	for (i = 0; i < ARRAY_SIZE(page->fields); i++) {
		const struct scsi_mode_field *f = &page->fields[i];

		if (f->mask == 0) {
			continue;
		}
		*mode &= ~f->value;
		if (data[f->byte] & f->mask) {
			*mode |= f->value;
		}
	}
	*page_length = page->length;
	return true;
}

/*
 * Tell the others. One who has not yet been told of a change that is now
 * undone has missed nothing, and would be stopped for nothing.
 */
static void scsi_mode_changed(struct scsi_state *state,
			      const struct GUID *self_id)
{
	uint32_t i;

	for (i = 0; i < state->num_nexuses; i++) {
		struct scsi_nexus_state *nexus = &state->nexuses[i];

		if (scsi_nexus_equal(&nexus->initiator_id, self_id)) {
			nexus->known_mode = state->mode;
			continue;
		}
		if (nexus->known_mode == state->mode) {
			nexus->unit_attentions &=
				~SCSI_UA_MODE_PARAMETERS_CHANGED;
			continue;
		}
		scsi_nexus_establish_ua(nexus,
					SCSI_UA_MODE_PARAMETERS_CHANGED);
	}
}

static NTSTATUS scsi_mode_select_fn(struct scsi_state *state, bool *changed,
				    void *fn_data)
{
	struct scsi_mode_select *select = fn_data;
	uint8_t mode = state->mode;
	size_t done = 0;

	select->failed = false;
	select->cache_went_off = false;

	while (done < select->pages_length) {
		size_t page_length = 0;

		if (!scsi_mode_select_page(select, done, state->mode, &mode,
					   &page_length)) {
			select->failed = true;
			return NT_STATUS_OK;
		}
		done += page_length;
	}

	if (mode == state->mode) {
		return NT_STATUS_OK;
	}
	select->cache_went_off = state->mode & ~mode & SCSI_MODE_WCE;
	state->mode = mode;
	scsi_mode_changed(state, &select->req->nexus->initiator_id);
	*changed = true;
	return NT_STATUS_OK;
}

/* The geometry of the disk can be repeated, not changed. */
static bool scsi_mode_check_descriptor(struct scsi_request *req,
				       const uint8_t *descriptor,
				       size_t length, size_t offset,
				       bool long_lba)
{
	uint64_t disk_blocks = scsi_num_blocks(req->disk);
	uint64_t num_blocks;
	uint32_t block_length;
	bool unchanged;

	if (length == 0) {
		return true;
	}
	if (long_lba) {
		num_blocks = scsi_get_be64(descriptor);
		block_length = scsi_get_be32(descriptor + 12);
		unchanged = num_blocks == 0 || num_blocks == UINT64_MAX;
	} else {
		num_blocks = scsi_get_be32(descriptor);
		block_length = scsi_get_be24(descriptor + 5);
		unchanged = num_blocks == 0 || num_blocks == UINT32_MAX;
	}
	if (!unchanged && num_blocks != disk_blocks) {
		scsi_invalid_field_in_parameters(req, offset, -1);
		return false;
	}
	if (block_length != req->disk->logical_sector_size) {
		scsi_invalid_field_in_parameters(
			req, offset + (long_lba ? 12 : 5), -1);
		return false;
	}
	return true;
}

/* SPC-4 6.9, 6.10, MODE SELECT */
void scsi_mode_select(struct scsi_request *req)
{
	const struct scsi_task *task = req->task;
	const uint8_t *cdb = task->cdb;
	const uint8_t *list = task->data_out;
	bool is_10 = cdb[0] == 0x55;
	size_t header_length = is_10 ? 8 : 4;
	size_t list_length = is_10 ? scsi_get_be16(cdb + 7) : cdb[4];
	struct scsi_mode_select select = { .req = req };
	size_t descriptor_length;
	bool long_lba;
	NTSTATUS status;

	if ((cdb[1] & SCSI_MODE_PF) == 0) {
		scsi_invalid_field_in_cdb(req, 1, 4);
		return;
	}
	if (cdb[1] & SCSI_MODE_SP) {
		scsi_invalid_field_in_cdb(req, 1, 0);
		return;
	}
	if (list_length == 0) {
		return;
	}
	if (list_length < header_length ||
	    task->data_out_length < list_length) {
		scsi_parameter_list_length_error(req);
		return;
	}

	descriptor_length = is_10 ? scsi_get_be16(list + 6) : list[3];
	long_lba = is_10 && (list[4] & 0x01);
	if (descriptor_length != 0 &&
	    descriptor_length != (long_lba ? 16U : 8U)) {
		scsi_invalid_field_in_parameters(req, is_10 ? 6 : 3, -1);
		return;
	}
	if (descriptor_length > list_length - header_length) {
		scsi_parameter_list_length_error(req);
		return;
	}
	if (!scsi_mode_check_descriptor(req, list + header_length,
					descriptor_length, header_length,
					long_lba)) {
		return;
	}

	select.pages_offset = header_length + descriptor_length;
	select.pages = list + select.pages_offset;
	select.pages_length = list_length - select.pages_offset;
	status = scsi_disk_update_state(req->disk, scsi_mode_select_fn,
					&select);
	if (!NT_STATUS_IS_OK(status)) {
		scsi_state_error(req, status);
		return;
	}
	if (!select.failed && select.cache_went_off) {
		/* What the write cache holds must go. */
		scsi_block_flush(req);
	}
}
