// A device called cuda whose memory is the host's: what torch's C++ asks of a device, and nothing more.
//
// Registered here: an allocator whose blocks have a number (so that Python can follow each of them), a device guard with
// current device and stream per thread, and the few operations that make tensors and views. Every other operation comes
// to the Python fallback in `runtime.py`, which runs it on the host's view of the same memory.

#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

namespace {

constexpr int kDevices = 2;

thread_local int current = 0;
thread_local int64_t current_stream[kDevices] = {};
std::atomic<int64_t> next_block{1}, next_stream{1}, bytes_alive{0}, bytes_peak{0}, opened{0};
std::mutex freed_lock;
std::vector<int64_t> freed;

struct Block {
  void* memory;
  size_t bytes;
  int64_t number;
};

void give_back(void* context) {
  auto* block = static_cast<Block*>(context);
  bytes_alive -= static_cast<int64_t>(block->bytes);
  {
    std::lock_guard<std::mutex> guard(freed_lock);
    freed.push_back(block->number);
  }
  std::free(block->memory);
  delete block;
}

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    opened |= int64_t{1} << current;
    auto* block = new Block{std::malloc(bytes + 64), bytes, next_block++};
    const int64_t alive = bytes_alive += static_cast<int64_t>(bytes);
    if (alive > bytes_peak) bytes_peak = alive;
    return {block->memory, block, &give_back, c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(current))};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};
Memory memory;

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return c10::kCUDA; }
  c10::Device exchangeDevice(c10::Device device) const override {
    const auto before = getDevice();
    setDevice(device);
    return before;
  }
  c10::Device getDevice() const override { return {c10::kCUDA, static_cast<c10::DeviceIndex>(current)}; }
  void setDevice(c10::Device device) const override {
    TORCH_CHECK(device.index() < kDevices, "CUDA error: invalid device ordinal");
    if (device.index() >= 0) current = device.index();
  }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    if (device.index() >= 0 && device.index() < kDevices) current = device.index();
  }
  c10::Stream getStream(c10::Device device) const override {
    const int index = device.index() < 0 ? current : device.index();
    const c10::Device whole(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
    return c10::Stream(c10::Stream::UNSAFE, whole, current_stream[index]);
  }
  c10::Stream getDefaultStream(c10::Device device) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    const auto before = getStream(stream.device());
    current_stream[stream.device().index()] = stream.id();
    return before;
  }
  c10::DeviceIndex deviceCount() const noexcept override { return kDevices; }
  // The autograd engine orders its own streams; every node runs on its forward pass's stream, in order.
  void record(void** event, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {
    *event = reinterpret_cast<void*>(1);
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(const c10::DeviceIndex) const override {}
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard)

// What says that there is an accelerator at all; the autograd engine asks.
struct Hooks final : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  int getNumGPUs() const override { return kDevices; }
  c10::DeviceIndex deviceCount() const override { return kDevices; }
  c10::DeviceIndex current_device() const override { return static_cast<c10::DeviceIndex>(current); }
  c10::DeviceIndex getCurrentDevice() const override { return current_device(); }
  void setCurrentDevice(c10::DeviceIndex index) const override { current = index; }
};
constexpr c10::DispatchKeySet kKey(c10::DispatchKey::CUDA);

struct OnDevice {
  explicit OnDevice(std::optional<at::Device> device) : before(current) {
    const int index = device && device->index() >= 0 ? device->index() : current;
    TORCH_CHECK(index < kDevices, "CUDA error: invalid device ordinal");
    current = index;
  }
  ~OnDevice() { current = before; }
  int before;
};

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                 std::optional<at::Device> device, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  OnDevice guard(device);
  return at::detail::empty_generic(size, &memory, kKey, c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> dtype,
                         std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool>) {
  OnDevice guard(device);
  return at::detail::empty_strided_generic(size, stride, &memory, kKey, c10::dtype_or_default(dtype));
}

const at::Tensor& resize_(const at::Tensor& self, at::IntArrayRef size, std::optional<at::MemoryFormat> format) {
  OnDevice guard(self.device());
  return at::native::resize_(self, size, format);
}

// The same memory as a tensor of the host's; it keeps the block alive.
at::Tensor host(const at::Tensor& tensor) {
  c10::Storage storage = tensor.storage();
  auto options = at::TensorOptions().dtype(tensor.dtype()).device(c10::kCPU);
  return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(), [storage](void*) {}, options);
}

// The same, without keeping it alive: what a captured graph knows of memory that is not its own.
at::Tensor borrowed(const at::Tensor& tensor) {
  auto options = at::TensorOptions().dtype(tensor.dtype()).device(c10::kCPU);
  return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(), options);
}

int64_t block_of(const at::Tensor& tensor) {
  auto* context = tensor.storage().data_ptr().get_context();
  return context == nullptr ? 0 : static_cast<Block*>(context)->number;
}

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", TORCH_FN(empty));
  m.impl("empty_strided", TORCH_FN(empty_strided));
  m.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  m.impl("view", TORCH_FN(at::native::view));
  m.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  m.impl("unfold", TORCH_FN(at::native::unfold));
  m.impl("resize_", TORCH_FN(resize_));
  m.impl("set_.source_Storage_storage_offset", TORCH_FN(at::native::set_storage_cpu_));
}

TORCH_LIBRARY(pretended_gpu, m) {
  m.def("host(Tensor tensor) -> Tensor", torch::dispatch(c10::DispatchKey::CompositeExplicitAutograd, TORCH_FN(host)));
  m.def("borrowed(Tensor tensor) -> Tensor", torch::dispatch(c10::DispatchKey::CompositeExplicitAutograd, TORCH_FN(borrowed)));
  m.def("block(Tensor tensor) -> int", torch::dispatch(c10::DispatchKey::CompositeExplicitAutograd, TORCH_FN(block_of)));
}

}  // namespace

namespace at {
C10_REGISTER_CLASS(CUDAHooksRegistry, CUDAHooks, Hooks)
}

extern "C" {
int64_t pretended_device() { return current; }
void pretended_set_device(int64_t index) { current = static_cast<int>(index); }
int64_t pretended_stream(int64_t device) { return current_stream[device]; }
void pretended_set_stream(int64_t device, int64_t stream) { current_stream[device] = stream; }
int64_t pretended_new_stream() { return next_stream++; }
int64_t pretended_bytes() { return bytes_alive; }
int64_t pretended_peak() { return bytes_peak; }
void pretended_reset_peak() { bytes_peak = bytes_alive.load(); }
// Which devices memory was asked of: a bit each.
int64_t pretended_opened() { return opened; }
// The number of a block that was given back since the last call, 0 where there is none.
int64_t pretended_freed() {
  std::lock_guard<std::mutex> guard(freed_lock);
  if (freed.empty()) return 0;
  const int64_t number = freed.back();
  freed.pop_back();
  return number;
}
}
