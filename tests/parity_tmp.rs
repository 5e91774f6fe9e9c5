use loraloom::{checkpoint::load, device};
use safetensors::SafeTensors;
use burn::tensor::{Tensor, TensorData};
#[test]
fn parity() {
    for choice in [device::DeviceChoice::Cpu, device::DeviceChoice::Gpu] {
    for name in ["vit","vit-bare","vit-no-qkv-bias","deit-distilled","dinov2","dinov2-swiglu","timm"] {
        let dir = format!("../shared/fixtures/{name}");
        let read = |f:&str| std::fs::read(format!("{dir}/{f}")).unwrap();
        let d = device::block_on(device::open(choice)).unwrap();
        let c = String::from_utf8(read("config.json")).unwrap();
        let ck = load::load(("config.json",&c),("model.safetensors",&read("model.safetensors")),None,&d.plain).unwrap();
        let rb = read("reference.safetensors"); let r = SafeTensors::deserialize(&rb).unwrap();
        let f = |k:&str| { let v = r.tensor(k).unwrap(); (loraloom::checkpoint::weights::to_f32("r",k,&v).unwrap(), v.shape().to_vec()) };
        let (px, sh) = f("pixel_values");
        let x = Tensor::<4>::from_data(TensorData::new(px, sh), &d.plain);
        let h = ck.vit.forward_features(x);
        for (key, out) in [("last_hidden_state", Some(h.clone().reshape([-1i32, 1]))), ("logits", ck.head.as_ref().map(|hd| ck.vit.forward_head(h.clone(), &hd.to_tensors(&d.plain)).reshape([-1i32,1])))] {
            if r.tensor(key).is_err() { continue; }
            let e = f(key).0; let g = device::block_on(device::read(out.unwrap())).unwrap();
            let m = e.iter().zip(&g).map(|(a,b)|(a-b).abs()).fold(0f32,f32::max);
            println!("{} {name} {key} {m:e} {}", d.info.name, e.len()==g.len());
        }
    }}
}
