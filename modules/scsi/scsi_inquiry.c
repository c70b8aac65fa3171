/*
 * vfs_rsvd: who the disk is: INQUIRY, REPORT LUNS, REPORT TARGET PORT GROUPS
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/scsi/scsi_private.h"

/* Left-aligned ASCII, padded with spaces: SPC-4 4.3.1 */
#define SCSI_VENDOR_ID	"SAMBA   "
#define SCSI_PRODUCT_ID	"Shared VHDX     "
#define SCSI_PRODUCT_REVISION "0001"

/* SPC-4 6.6.2; the version descriptors name no revision. */
static const uint8_t scsi_standard_inquiry[96] = {
	[0] = 0x00,		/* connected direct access block device */
	[1] = 0x00,		/* not removable */
	[2] = 0x06,		/* SPC-4 */
	[3] = 0x02,		/* response data format */
	[4] = 96 - 5,
	[5] = 0x18,		/* TPGS: implicit; 3PC */
	[6] = 0x10,		/* MULTIP */
	[7] = 0x02,		/* CMDQUE */
	[58] = 0x00, [59] = 0xa0,	/* SAM-5 */
	[60] = 0x04, [61] = 0x60,	/* SPC-4 */
	[62] = 0x04, [63] = 0xc0,	/* SBC-3 */
};

static void scsi_standard_data(struct scsi_request *req,
			       struct scsi_data_in *in)
{
	uint8_t buf[sizeof(scsi_standard_inquiry)];

	memcpy(buf, scsi_standard_inquiry, sizeof(buf));
	memcpy(buf + 8, SCSI_VENDOR_ID, 8);
	memcpy(buf + 16, SCSI_PRODUCT_ID, 16);
	memcpy(buf + 32, SCSI_PRODUCT_REVISION, 4);
	scsi_data_in_put(in, buf, sizeof(buf));
}

/* The identifier of the disk as it is stored in the image, MS-DTYP 2.3.4.2 */
static void scsi_virtual_disk_id(const struct scsi_disk *disk,
				 uint8_t buf[16])
{
	const struct GUID *id = &disk->virtual_disk_id;

	scsi_put_be32(buf, id->time_low);
	scsi_put_be16(buf + 4, id->time_mid);
	scsi_put_be16(buf + 6, id->time_hi_and_version);
	memcpy(buf + 8, id->clock_seq, 2);
	memcpy(buf + 10, id->node, 6);
}

static void scsi_virtual_disk_id_hex(const struct scsi_disk *disk,
				     char hex[33])
{
	uint8_t id[16];
	size_t i;

	scsi_virtual_disk_id(disk, id);
	for (i = 0; i < sizeof(id); i++) {
		snprintf(hex + 2 * i, 3, "%02x", id[i]);
	}
}

/*
 * NAA locally assigned (SPC-4, NAA designator formats), not IEEE registered:
 * nobody gave us a company id. Its 60 bits are the two halves of the
 * VirtualDiskId folded together, so that the constant version and variant
 * bits of a random GUID cost nothing.
 */
void scsi_lu_designator(const struct scsi_disk *disk, uint8_t naa[8])
{
	uint8_t id[16];
	size_t i;

	scsi_virtual_disk_id(disk, id);
	for (i = 0; i < 8; i++) {
		naa[i] = id[i] ^ id[i + 8];
	}
	naa[0] = 0x30 | (naa[0] & 0x0f);
}

static void scsi_vpd_supported(struct scsi_request *req,
			       struct scsi_data_in *in);

static void scsi_vpd_serial_number(struct scsi_request *req,
				   struct scsi_data_in *in)
{
	char hex[33];

	scsi_virtual_disk_id_hex(req->disk, hex);
	scsi_data_in_put(in, hex, 32);
}

/* SPC-4, Device Identification VPD page */
static void scsi_vpd_device_identification(struct scsi_request *req,
					   struct scsi_data_in *in)
{
	static const uint8_t naa_header[] = { 0x01, 0x03, 0x00, 0x08 };
	static const uint8_t t10_header[] = { 0x02, 0x01, 0x00, 8 + 32 };
	/*
	 * The one port of the one group that REPORT TARGET PORT GROUPS tells
	 * of; wherever a disk is served from, that is how initiators see it.
	 */
	static const uint8_t port[] = {
		0x01, 0x14, 0x00, 0x04, 0x00, 0x00, 0x00, 0x01
	};
	static const uint8_t port_group[] = {
		0x01, 0x15, 0x00, 0x04, 0x00, 0x00, 0x00, 0x01
	};
	uint8_t naa[8];
	char hex[33];

	scsi_lu_designator(req->disk, naa);
	scsi_data_in_put(in, naa_header, sizeof(naa_header));
	scsi_data_in_put(in, naa, sizeof(naa));

	scsi_virtual_disk_id_hex(req->disk, hex);
	scsi_data_in_put(in, t10_header, sizeof(t10_header));
	scsi_data_in_put(in, SCSI_VENDOR_ID, 8);
	scsi_data_in_put(in, hex, 32);

	scsi_data_in_put(in, port, sizeof(port));
	scsi_data_in_put(in, port_group, sizeof(port_group));
}

/* SPC-4, Extended INQUIRY Data VPD page */
static void scsi_vpd_extended_inquiry(struct scsi_request *req,
				      struct scsi_data_in *in)
{
	static const uint8_t buf[60] = {
		[5 - 4] = 0x01,		/* SIMPSUP */
		[6 - 4] = 0x01,		/* V_SUP: there is a write cache */
	};

	scsi_data_in_put(in, buf, sizeof(buf));
}

/* SBC-3, Block Limits VPD page; the atomic fields are of SBC-4 */
static void scsi_vpd_block_limits(struct scsi_request *req,
				  struct scsi_data_in *in)
{
	const struct scsi_disk *disk = req->disk;
	uint32_t lbs = disk->logical_sector_size;
	uint32_t max_blocks = SCSI_MAX_TRANSFER_LENGTH / lbs;
	uint32_t physical = 1U << scsi_physical_block_exponent(disk);
	uint8_t buf[60] = {0};

	/* Compare and write data comes twice, its length in one byte. */
	buf[5 - 4] = MIN(max_blocks / 2, 255);
	scsi_put_be16(buf + 6 - 4, physical);
	scsi_put_be32(buf + 8 - 4, max_blocks);
	scsi_put_be32(buf + 12 - 4, max_blocks);
	/* MAXIMUM PREFETCH LENGTH zero: scsi_prefetch() has no limit. */
	if (disk->thin) {
		scsi_put_be32(buf + 20 - 4, SCSI_MAX_UNMAP_BLOCKS);
		scsi_put_be32(buf + 24 - 4, SCSI_MAX_UNMAP_DESCRIPTORS);
		scsi_put_be32(buf + 28 - 4, physical);
		buf[32 - 4] = 0x80;	/* UGAVALID, alignment zero */
	}
	scsi_put_be64(buf + 36 - 4, SCSI_MAX_WRITE_SAME_BLOCKS);
	scsi_put_be32(buf + 44 - 4, scsi_max_atomic_blocks(disk));
	scsi_data_in_put(in, buf, sizeof(buf));
}

/* SBC-3, Block Device Characteristics VPD page */
static void scsi_vpd_block_characteristics(struct scsi_request *req,
					   struct scsi_data_in *in)
{
	uint8_t buf[60] = {0};

	/*
	 * Rotation rate 0, not reported: the file may be on anything, and
	 * "non-rotating" makes an initiator drop its I/O scheduler.
	 */
	if (req->disk->thin) {
		buf[7 - 4] = 0x40;	/* WABEREQ: erased blocks can be read */
	}
	buf[8 - 4] = 0x02;	/* FUAB: FUA works as for SYNCHRONIZE CACHE */
	scsi_data_in_put(in, buf, sizeof(buf));
}

/* SBC-3, Logical Block Provisioning VPD page */
static void scsi_vpd_provisioning(struct scsi_request *req,
				  struct scsi_data_in *in)
{
	uint8_t buf[4] = {0};

	if (req->disk->thin) {
		buf[5 - 4] = 0xc4;	/* LBPU, LBPWS, LBPRZ */
		buf[6 - 4] = 0x02;	/* thin provisioned */
	}
	scsi_data_in_put(in, buf, sizeof(buf));
}

static const struct {
	uint8_t page;
	void (*fn)(struct scsi_request *req, struct scsi_data_in *in);
} scsi_vpd_pages[] = {
	{ 0x00, scsi_vpd_supported },
	{ 0x80, scsi_vpd_serial_number },
	{ 0x83, scsi_vpd_device_identification },
	{ 0x86, scsi_vpd_extended_inquiry },
	{ 0x8f, scsi_vpd_third_party_copy },
	{ 0xb0, scsi_vpd_block_limits },
	{ 0xb1, scsi_vpd_block_characteristics },
	{ 0xb2, scsi_vpd_provisioning },
};

static void scsi_vpd_supported(struct scsi_request *req,
			       struct scsi_data_in *in)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(scsi_vpd_pages); i++) {
		scsi_data_in_put_u8(in, scsi_vpd_pages[i].page);
	}
}

static void scsi_vpd(struct scsi_request *req, struct scsi_data_in *in)
{
	uint8_t page = req->task->cdb[2];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(scsi_vpd_pages); i++) {
		/* No page is longer, see scsi_vpd_device_identification(). */
		uint8_t buf[128];
		struct scsi_data_in body = {
			.buf = buf,
			.room = sizeof(buf),
		};

		if (scsi_vpd_pages[i].page != page) {
			continue;
		}
		scsi_vpd_pages[i].fn(req, &body);

		scsi_data_in_put_u8(in, 0x00);
		scsi_data_in_put_u8(in, page);
		scsi_data_in_put_be16(in, body.length);
		scsi_data_in_put(in, buf, body.length);
		scsi_data_in_end(req, in);
		return;
	}
	scsi_invalid_field_in_cdb(req, 2, -1);
}

/* SPC-4 6.6, INQUIRY */
void scsi_inquiry(struct scsi_request *req)
{
	const uint8_t *cdb = req->task->cdb;
	struct scsi_data_in in;

	scsi_data_in_start(req, &in, scsi_get_be16(cdb + 3));

	if (cdb[1] & 0x01) {
		scsi_vpd(req, &in);
		return;
	}
	if (cdb[2] != 0) {
		scsi_invalid_field_in_cdb(req, 2, -1);
		return;
	}
	scsi_standard_data(req, &in);
	scsi_data_in_end(req, &in);
}

/* SPC-4 6.33, REPORT LUNS: one logical unit, LUN 0, and no well known ones */
void scsi_report_luns(struct scsi_request *req)
{
	const uint8_t *cdb = req->task->cdb;
	uint32_t allocation_length = scsi_get_be32(cdb + 6);
	static const uint8_t lun_list[16] = { 0, 0, 0, 8 };
	static const uint8_t empty_list[8];

	if (allocation_length < 16) {
		/* With this command an error, not a truncation */
		scsi_invalid_field_in_cdb(req, 6, -1);
		return;
	}

	switch (cdb[2]) {
	case 0x00:
	case 0x02:
		scsi_data_in_copy(req, lun_list, sizeof(lun_list),
				  allocation_length);
		return;
	case 0x01:
		scsi_data_in_copy(req, empty_list, sizeof(empty_list),
				  allocation_length);
		return;
	}
	scsi_invalid_field_in_cdb(req, 2, -1);
}

/* SPC-4 6.37: one group of one port, always active/optimized */
void scsi_report_target_port_groups(struct scsi_request *req)
{
	const uint8_t *cdb = req->task->cdb;
	static const uint8_t group[12] = {
		0x00,			/* active/optimized */
		0x01,			/* AO_SUP */
		0x00, 0x01,		/* target port group */
		0x00, 0x00, 0x00, 0x01,	/* one port: */
		0x00, 0x00, 0x00, 0x01,	/* relative target port 1 */
	};
	static const uint8_t extended_header[4] = { 0x10 };
	struct scsi_data_in in;

	scsi_data_in_start(req, &in, scsi_get_be32(cdb + 6));

	switch (cdb[1] >> 5) {
	case 0:
		scsi_data_in_put_be32(&in, sizeof(group));
		break;
	case 1:
		scsi_data_in_put_be32(&in, sizeof(extended_header) +
				      sizeof(group));
		scsi_data_in_put(&in, extended_header,
				 sizeof(extended_header));
		break;
	default:
		scsi_invalid_field_in_cdb(req, 1, 7);
		return;
	}
	scsi_data_in_put(&in, group, sizeof(group));
	scsi_data_in_end(req, &in);
}
