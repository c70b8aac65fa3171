/*
 * vfs_rsvd: the initiators of this machine
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _RSVDCTL_MACHINE_H_
#define _RSVDCTL_MACHINE_H_

#include "source3/librsvd/librsvd.h"

/**
 * The GUID of an initiator that belongs to this machine: the same at each call,
 * so that a reservation made by one run of a tool can be released by the next.
 *
 * @param[in]  number  0 is the one that rsvdctl is
 * @return false when the machine has no id
 */
bool rsvdctl_machine_guid(unsigned int number, struct librsvd_guid *guid);

#endif /* _RSVDCTL_MACHINE_H_ */
