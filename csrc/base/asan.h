// What AddressSanitizer is told, by its own names; nothing in a build without it.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define TW_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TW_ASAN 1
#endif
#endif
#ifdef TW_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) static_cast<void>(0)
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) static_cast<void>(0)
#define __lsan_ignore_object(block) static_cast<void>(0)
#define __sanitizer_start_switch_fiber(fake_stack, bottom, bytes) static_cast<void>(0)
#define __sanitizer_finish_switch_fiber(fake_stack, bottom, bytes) static_cast<void>(0)
#endif
