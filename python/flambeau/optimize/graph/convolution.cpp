// A 3x3 convolution on packed weights as packages call it: torch's C interface outside, the layers' kernels inside. Linked into packages.

#include <vector>

#include "kernels.cpp"

// Of torch's interface, which does not change; its own header brings names that are ours.
extern "C" {

typedef struct AtenTensorOpaque* AtenTensorHandle;
typedef int32_t AOTITorchError;
AOTITorchError aoti_torch_get_data_ptr(AtenTensorHandle tensor, void** out);
AOTITorchError aoti_torch_get_sizes(AtenTensorHandle tensor, int64_t** out);
AOTITorchError aoti_torch_empty_strided(int64_t dimensions, const int64_t* sizes, const int64_t* strides, int32_t dtype,
                                        int32_t device_type, int32_t device_index, AtenTensorHandle* out);
int32_t aoti_torch_dtype_float32(void);
int32_t aoti_torch_device_type_cpu(void);

}  // extern "C"

#define TRY(call) \
  if (const AOTITorchError error = call; error != 0) return error

namespace {

AOTITorchError address(AtenTensorHandle tensor, float** out) { return aoti_torch_get_data_ptr(tensor, reinterpret_cast<void**>(out)); }

}  // namespace

extern "C" AOTITorchError aoti_torch_cpu_convolve(AtenTensorHandle x_BHWC, AtenTensorHandle weight, AtenTensorHandle bias,
                                                  int64_t out_channels, int64_t tile, int64_t tiles, int64_t pad_top,
                                                  int64_t pad_left, AtenTensorHandle* made) {
  // Each thread's convolutions work in it, one after the other.
  thread_local std::vector<float> room;
  int64_t* size = nullptr;
  TRY(aoti_torch_get_sizes(x_BHWC, &size));
  const int64_t batch = size[0], height = size[1], width = size[2], channels = size[3];
  const int64_t out_height = height + 2 * pad_top - 2, out_width = width + 2 * pad_left - 2;
  const int64_t sizes[] = {batch, out_height, out_width, out_channels};
  const int64_t strides[] = {out_height * out_width * out_channels, out_width * out_channels, out_channels, 1};
  TRY(aoti_torch_empty_strided(4, sizes, strides, aoti_torch_dtype_float32(), aoti_torch_device_type_cpu(), 0, made));
  float *in = nullptr, *packed = nullptr, *added = nullptr, *out = nullptr;
  TRY(address(x_BHWC, &in));
  TRY(address(weight, &packed));
  TRY(address(bias, &added));
  TRY(address(*made, &out));
  Convolution c{in,    packed,   added,      out,       nullptr,      tiles,   batch,   height,
                width, channels, out_height, out_width, out_channels, pad_top, pad_left};
  const size_t needed = (tile == 2 ? room_for2 : room_for4)(&c, THREADS);
  if (room.size() < needed) room.resize(needed);
  c.room = room.data();
  (tile == 2 ? convolve2 : convolve4)(&c, THREADS);
  return 0;
}
